"""Images made and text spoken, through the same core as all other routes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmlb.types import Api
from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import Scene, url
from tests.fakes.upstream import Answer, disconnected, json_answer

IMAGES, SPEECH = Api.IMAGE_GENERATIONS, Api.SPEECH

SOUND = b"\xff\xfb\x90" + bytes(range(256)) * 8


def asks(**fields: Any) -> bytes:
    return json.dumps({"model": "tiny", "prompt": "a cat", "input": "hello", **fields}).encode()


def audio(*chunks: Any) -> Answer:
    return Answer(200, {"content-type": "audio/mpeg"}, list(chunks))


async def test_an_image_is_passed_on(scene: Scene) -> None:
    await scene.endpoint("a")
    made = {"created": 1, "data": [{"b64_json": "AAAA"}]}
    scene.on("a", json_answer(made), IMAGES)
    answer = await scene.ask(asks(), api=IMAGES)
    assert (answer.status, answer.json) == (200, made)


async def test_speech_is_passed_on_byte_by_byte(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", audio(SOUND[:100], 1.0, SOUND[100:]), SPEECH)
    answer = await scene.ask(asks(), api=SPEECH)
    assert answer.body == SOUND
    assert answer.headers["content-type"] == "audio/mpeg"
    assert answer.headers["content-length"] == str(len(SOUND))


async def test_long_speech_is_passed_on_as_it_comes(scene: Scene) -> None:
    await scene.endpoint("a")
    megabyte = bytes(1024 * 1024)
    scene.on("a", audio(*[megabyte] * 10, disconnected()), SPEECH)
    client = FakeDownstream()
    answer = await scene.ask(asks(), client, api=SPEECH)
    assert len(answer.body) == 10 * len(megabyte)
    assert client.aborted  # it broke after the commit point: nobody may take it for whole


PAGE = Answer(200, {"content-type": "text/html"}, [b"\n<!DOCTYPE html><title>Sign in</title>"])


@pytest.mark.parametrize("bad", [audio(), json_answer({"error": {"message": "no voice"}}), PAGE])
async def test_no_speech_is_the_next_endpoints(scene: Scene, bad: Answer) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", bad, SPEECH)
    scene.on("b", audio(SOUND), SPEECH)
    answer = await scene.ask(asks(), api=SPEECH)
    assert answer.body == SOUND
    assert answer.headers["x-llmlb-attempts"] == "2"


@pytest.mark.parametrize("api", [IMAGES, SPEECH])
async def test_a_model_that_cannot_do_it_is_a_400_and_nothing_is_sent(
    scene: Scene, api: Api
) -> None:
    entry = {"id": "tiny", "architecture": {"input_modalities": ["text"]}}
    scene.upstream.get(url("a"), "/v1/models", {"data": [entry]})
    await scene.register("a")
    answer = await scene.ask(asks(), api=api)
    assert (answer.status, answer.error["code"]) == (400, "unsupported_capability")
    assert scene.requests() == []


MADE = b'data: {"type":"image_generation.completed","b64_json":"AAAA"}\n\n'
SPOKEN = (
    b'data: {"type":"speech.audio.delta","audio":"AAAA"}\n\ndata: {"type":"speech.audio.done"}\n\n'
)


@pytest.mark.parametrize(
    ("api", "fields", "stream"),
    [(IMAGES, {"stream": True}, MADE), (SPEECH, {"stream_format": "sse"}, SPOKEN)],
)
async def test_streams_of_events_are_passed_on(
    scene: Scene, api: Api, fields: dict[str, Any], stream: bytes
) -> None:
    await scene.endpoint("a")
    scene.on("a", Answer(200, {"content-type": "text/event-stream"}, [stream]), api)
    answer = await scene.ask(asks(**fields), api=api)
    assert (answer.status, answer.body) == (200, stream)


HALF_AN_IMAGE = b'data: {"type":"image_generation.completed","b64_json":"' + b"A" * 100_000


async def test_an_image_that_breaks_off_in_its_middle_is_cut(scene: Scene) -> None:
    await scene.endpoint("a")
    stream = Answer(200, {"content-type": "text/event-stream"}, [HALF_AN_IMAGE, disconnected()])
    scene.on("a", stream, IMAGES)
    client = FakeDownstream()
    answer = await scene.ask(asks(stream=True), client, api=IMAGES)
    assert client.aborted
    assert b"error" not in answer.body  # it would be read as a part of the image
    await scene.settle()
    assert not scene.leases


async def test_a_large_image_may_take_its_time(scene: Scene) -> None:
    await scene.endpoint("a", inference_timeout_s=1000)
    pieces: list[Any] = [HALF_AN_IMAGE]
    for _ in range(4):
        pieces += [100.0, b"A" * 70_000]  # the gap between two tokens may be 120 s
    stream = Answer(200, {"content-type": "text/event-stream"}, [*pieces, b'"}\n\n'])
    scene.on("a", stream, IMAGES)
    answer = await scene.ask(asks(stream=True), api=IMAGES)
    assert answer.body.endswith(b'AAAA"}\n\n')
    assert answer.status == 200
