"""Speech, pictures and stored responses with the official client, on real sockets."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import httpx
import openai
import pytest
from backports import zstd
from openai import OpenAI

from tests.e2e.conftest import StartBalancer
from tests.e2e.fleet import Balancer
from tests.e2e.media_stub import SOUND, MediaStub


@pytest.fixture
def balancer(start_balancer: StartBalancer, media_stub: MediaStub) -> Balancer:
    balancer = start_balancer()
    balancer.ask("POST", "/api/endpoints", {"name": "stub", "base_url": media_stub.url})
    balancer.wait_until_online("stub")
    return balancer


@pytest.fixture
def client(balancer: Balancer) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{balancer.base_url}/v1", api_key="any", max_retries=0) as client:
        yield client


def test_speech_is_heard(client: OpenAI, media_stub: MediaStub) -> None:
    sound = ("a.mp3", SOUND * 10, "audio/mpeg")
    heard = client.audio.transcriptions.create(model="whisper-tiny", file=sound)
    assert heard.text == "hello"
    with pytest.warns(DeprecationWarning, match="deprecated"):  # OpenAI's own models have moved on
        english = client.audio.translations.create(model="whisper-tiny", file=sound)
    assert english.text == "hello"
    assert [path for path in media_stub.paths() if "audio" in path] == [
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
    ]


def test_speech_is_heard_while_it_is_transcribed(client: OpenAI) -> None:
    stream = client.audio.transcriptions.create(
        model="whisper-tiny", file=("a.mp3", SOUND), stream=True
    )
    assert [event.type for event in stream] == ["transcript.text.delta", "transcript.text.done"]


def test_text_is_spoken(client: OpenAI) -> None:
    spoken = client.audio.speech.create(model="kokoro-82m", input="hello", voice="alloy")
    assert spoken.content == SOUND


def test_pictures_are_made_and_changed(client: OpenAI) -> None:
    picture = ("a.png", b"\x89PNG")
    made = client.images.generate(model="flux-dev", prompt="a hat")
    changed = client.images.edit(model="flux-dev", image=picture, prompt="a red hat")
    several = client.images.edit(model="flux-dev", image=[picture, picture], prompt="two hats")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        varied = client.images.create_variation(model="flux-dev", image=picture)
    for answer in (made, changed, several, varied):
        assert answer.data
        assert answer.data[0].b64_json == "AAAA"
    stream = client.images.generate(model="flux-dev", prompt="a hat", stream=True)
    assert [event.type for event in stream] == ["image_generation.completed"]


def test_a_model_that_cannot_hear_is_refused(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(model="kokoro-82m", file=("a.mp3", SOUND))
    assert caught.value.code == "unsupported_capability"


def test_a_stored_response_is_shown_cancelled_and_deleted(client: OpenAI) -> None:
    made = client.responses.create(model="tiny", input="hello")
    assert made.output_text == "hi"
    on = client.responses.create(model="tiny", input="more", previous_response_id=made.id)
    assert on.id == made.id
    assert client.responses.retrieve(made.id).output_text == "hi"
    assert client.responses.input_items.list(made.id).data == []
    assert client.responses.cancel(made.id).id == made.id
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_compressed_body_is_understood(
    balancer: Balancer, media_stub: MediaStub, encoding: str
) -> None:
    body = json.dumps({"model": "tiny", "input": "hello" * 1000}).encode()
    packed = gzip.compress(body) if encoding == "gzip" else zstd.compress(body)
    headers = {"content-type": "application/json", "content-encoding": encoding}
    answer = httpx.post(f"{balancer.base_url}/v1/responses", content=packed, headers=headers)
    assert answer.status_code == 200
    assert media_stub.asked[-1] == ("/v1/responses", "application/json", len(body))
