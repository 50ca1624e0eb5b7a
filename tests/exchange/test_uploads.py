"""Forms with files, through the same core as all other routes."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from llmlb.types import Api, Capability
from tests.fakes.downstream import FakeDownstream
from tests.fakes.forms import form_of, read_form
from tests.fakes.house import PATHS, Scene, asked_with
from tests.fakes.upstream import Answer, disconnected, json_answer, refused

TRANSCRIPTION, EDIT = Api.TRANSCRIPTION, Api.IMAGE_EDIT

SOUND = bytes(range(256)) * 4096
"""One MiB, with every byte in it, so that it stands in the spool."""

AUDIO: dict[str, Any] = {"file": ("a.wav", "audio/wav", SOUND), "model": "tiny"}
PICTURE: dict[str, Any] = {
    "image": ("a.png", "image/png", b"\x89PNG"),
    "prompt": "a hat",
    "model": "tiny",
}

HEARD = {"text": "hello"}
MADE = {"created": 1, "data": [{"b64_json": "AAAA"}]}


async def ask(scene: Scene, api: Api = TRANSCRIPTION, **fields: Any) -> FakeDownstream:
    downstream = FakeDownstream()
    async with form_of(fields) as form:
        asked = asked_with(form, PATHS[api], headers={"content-type": "multipart/form-data"})
        await scene.exchange.serve(api, asked, downstream)
    return downstream


@pytest.mark.parametrize(
    ("api", "fields", "answer"),
    [
        (TRANSCRIPTION, AUDIO, HEARD),
        (Api.TRANSLATION, AUDIO, HEARD),
        (EDIT, PICTURE, MADE),
        (Api.IMAGE_VARIATION, PICTURE, MADE),
    ],
)
async def test_a_form_reaches_the_endpoint_as_it_was_filled_in(
    scene: Scene, api: Api, fields: dict[str, Any], answer: dict[str, Any]
) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(answer), api)

    reply = await ask(scene, api, **fields, temperature="0.5", language="日本")

    assert (reply.status, reply.json) == (200, answer)
    [call] = scene.requests()
    assert call.path == PATHS[api]
    assert read_form(call) == {**fields, "temperature": "0.5", "language": "日本"}


async def test_it_is_sent_again_to_the_next_endpoint(scene: Scene) -> None:
    for name in "abc":
        await scene.endpoint(name)
    scene.on("a", refused(), TRANSCRIPTION)
    scene.on("b", Answer(200, {}, [b'{"te', disconnected()]), TRANSCRIPTION)
    scene.on("c", json_answer(HEARD), TRANSCRIPTION)

    reply = await ask(scene, **AUDIO)

    assert reply.json == HEARD
    assert [read_form(call) for call in scene.requests()] == [AUDIO] * len(scene.requests())
    assert scene.requests("c")


@pytest.mark.parametrize("settings", [{"model_aliases": {"ears": ("tiny",)}}])
async def test_the_model_is_renamed_for_the_endpoint(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(HEARD), TRANSCRIPTION)

    await ask(scene, **{**AUDIO, "model": "ears"})

    assert read_form(scene.requests()[0]) == AUDIO


@pytest.mark.parametrize(
    ("api", "fields", "missing"),
    [
        (TRANSCRIPTION, {"file": AUDIO["file"]}, "model"),
        (TRANSCRIPTION, {**AUDIO, "model": ""}, "model"),
        (TRANSCRIPTION, {"model": "tiny"}, "file"),
        (TRANSCRIPTION, {"model": "tiny", "file": "text"}, "file"),
        (EDIT, {"model": "tiny", "prompt": "a"}, "image"),
        (EDIT, {"model": "tiny", "image": PICTURE["image"]}, "prompt"),
        (Api.IMAGE_VARIATION, {"model": "tiny"}, "image"),
    ],
)
async def test_what_is_missing_is_named(
    scene: Scene, api: Api, fields: dict[str, Any], missing: str
) -> None:
    await scene.endpoint("a")
    reply = await ask(scene, api, **fields)
    assert (reply.status, reply.error["code"]) == (400, "missing_field")
    assert reply.error["param"] == missing
    assert not scene.requests()


async def test_stream_is_true_or_false(scene: Scene) -> None:
    reply = await ask(scene, **AUDIO, stream="perhaps")
    assert (reply.status, reply.error["param"]) == (400, "stream")


async def test_several_images_have_brackets_in_their_name(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(MADE), EDIT)
    fields = {"image[]": PICTURE["image"], "prompt": "a", "model": "tiny"}
    assert (await ask(scene, EDIT, **fields)).status == 200


async def test_json_is_no_form(scene: Scene) -> None:
    reply = await scene.ask(b'{"model": "tiny"}', api=TRANSCRIPTION)
    assert (reply.status, reply.error["code"]) == (415, "unsupported_media_type")
    assert "multipart/form-data" in reply.error["message"]


async def test_text_is_an_answer(scene: Scene) -> None:
    await scene.endpoint("a")
    srt = b"1\n00:00:00,000 --> 00:00:01,000\nhello\n"
    scene.on("a", Answer(200, {"content-type": "text/plain"}, [srt]), TRANSCRIPTION)
    reply = await ask(scene, **AUDIO, response_format="srt")
    assert reply.body == srt


@pytest.mark.parametrize(
    "bad",
    [
        Answer(200, {"content-type": "text/html"}, [b"<HTML><body>Bad gateway</body></HTML>"]),
        Answer(200, {"content-type": "text/event-stream"}, [b'data: {"error": "no ears"}\n\n']),
        Answer(200, {"content-type": "text/plain", "content-encoding": "gzip"}, [b"\x1f\x8b"]),
    ],
)
async def test_what_nobody_asked_for_is_no_transcript(scene: Scene, bad: Answer) -> None:
    await scene.endpoint("a")
    scene.on("a", bad, TRANSCRIPTION)
    reply = await ask(scene, **AUDIO)
    assert (reply.status, reply.error["code"]) == (502, "upstream_error")


async def test_a_streamed_transcription_is_passed_on(scene: Scene) -> None:
    await scene.endpoint("a")
    events = [
        b'data: {"type":"transcript.text.delta","delta":"hel"}\n\n',
        b'data: {"type":"transcript.text.done","text":"hello"}\n\n',
    ]
    stream = Answer(200, {"content-type": "text/event-stream"}, events)
    scene.on("a", stream, TRANSCRIPTION)
    reply = await ask(scene, **AUDIO, stream="true")
    assert reply.body == b"".join(events)


async def test_a_model_that_cannot_hear_is_passed_over(scene: Scene) -> None:
    deaf = (("tiny", frozenset({Capability.CHAT_COMPLETION})),)
    await scene.endpoint("a", model_capabilities=deaf)
    reply = await ask(scene, **AUDIO)
    assert (reply.status, reply.error["code"]) == (400, "unsupported_capability")
    assert "audio" in reply.error["message"]

    await scene.endpoint("b")
    scene.on("b", json_answer(HEARD), TRANSCRIPTION)
    for _ in range(3):
        assert (await ask(scene, **AUDIO)).headers["x-llmlb-endpoint"] == "b"


async def test_an_upload_that_waits_is_whole_when_its_turn_comes(scene: Scene) -> None:
    import trio

    from tests.fakes.upstream import replies

    await scene.endpoint("a")
    scene.on("a", replies(json_answer(HEARD), after_s=10), TRANSCRIPTION)
    answers = []

    async def one() -> None:
        answers.append(await ask(scene, **AUDIO))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(partial(one))
    assert [answer.json for answer in answers] == [HEARD] * 3
    assert [read_form(call) for call in scene.requests()] == [AUDIO] * 3
