"""What OpenAI's own package makes of our streams: their events, and the error of a broken one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, get_args

import httpx2
import openai
import pytest
from openai.types import ImageEditCompletedEvent, ImageGenCompletedEvent
from openai.types.audio import TranscriptionTextDoneEvent

from llmlb.errors import LbError, NoCapableEndpoints, UpstreamError, UpstreamTimeout
from llmlb.http.openai.dialects import DIALECTS
from llmlb.http.openai.stream import StreamMeter
from llmlb.http.sse import EventScanner, Piece
from llmlb.types import Api
from tests.fakes.openai import DONE, event, says

CHAT: Any = [{"role": "user", "content": "Hi"}]
PNG = ("a.png", b"\x89PNG\r\n\x1a\n", "image/png")
WAV = ("a.wav", b"RIFF", "audio/wav")


def typed(kind: str, **fields: Any) -> bytes:
    return b"event: %b\n" % kind.encode() + event({"type": kind, **fields})


def client(stream: bytes) -> openai.OpenAI:
    """The official client of a server that answers everything with *stream*."""

    def handle(sent: httpx2.Request) -> httpx2.Response:
        sent.read()
        return httpx2.Response(200, content=stream, headers={"content-type": "text/event-stream"})

    return openai.OpenAI(
        api_key="k",
        base_url="http://llmlb/v1",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(handle)),
    )


def spoken(sdk: openai.OpenAI) -> Iterator[Any]:
    """The package has no method that reads speech as events, but it has the means."""
    stream: openai.Stream[Any] = sdk.post(
        "/audio/speech", cast_to=object, stream=True, stream_cls=openai.Stream[object]
    )
    return iter(stream)


Ask = Callable[[openai.OpenAI], Any]

ROUTES: dict[Api, tuple[Ask, list[bytes]]] = {
    Api.CHAT_COMPLETIONS: (
        lambda sdk: sdk.chat.completions.create(model="m", messages=CHAT, stream=True),
        [event(says("Hel"))],
    ),
    Api.COMPLETIONS: (
        lambda sdk: sdk.completions.create(model="m", prompt="Hi", stream=True),
        [event({"choices": [{"index": 0, "text": "Hel"}]})],
    ),
    Api.RESPONSES: (
        lambda sdk: sdk.responses.create(model="m", input="Hi", stream=True),
        [typed("response.output_text.delta", delta="Hel")],
    ),
    Api.IMAGE_GENERATIONS: (
        lambda sdk: sdk.images.generate(model="m", prompt="a cat", stream=True),
        [typed("image_generation.partial_image", b64_json="AAAA")],
    ),
    Api.IMAGE_EDIT: (
        lambda sdk: sdk.images.edit(model="m", prompt="a cat", image=PNG, stream=True),
        [typed("image_edit.partial_image", b64_json="AAAA")],
    ),
    Api.SPEECH: (spoken, [typed("speech.audio.delta", audio="AAAA")]),
    Api.TRANSCRIPTION: (
        lambda sdk: sdk.audio.transcriptions.create(model="m", file=WAV, stream=True),
        [typed("transcript.text.delta", delta="Hel")],
    ),
}

ERRORS = [
    UpstreamError("The endpoint's stream ended in the middle."),
    UpstreamTimeout("The endpoint's stream stalled."),
    NoCapableEndpoints('Half a pair \ud800, "quoted"\r\n\r\ndata: [DONE]', retry_after_s=3),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("api", ROUTES)
def test_a_broken_stream_raises_an_api_error_with_code_and_type(api: Api, error: LbError) -> None:
    ask, begun = ROUTES[api]
    stream = iter(ask(client(b"".join(begun) + DIALECTS[api].error_event(error))))
    for _ in begun:
        next(stream)

    with pytest.raises(openai.APIError) as raised:
        next(stream)

    assert (raised.value.code, raised.value.type) == (error.error_code(), error.error_type())
    assert raised.value.message == error.message.encode(errors="replace").decode()


@pytest.mark.parametrize("api", DIALECTS)
def test_the_error_is_one_event_that_our_own_meters_see_and_no_false_end(api: Api) -> None:
    for error in ERRORS:
        last = DIALECTS[api].error_event(error)
        [piece] = EventScanner().feed(last)
        meter = DIALECTS[api].meter(1)
        meter.see(piece)
        assert piece.raw == last
        assert meter.error == error.message.encode(errors="replace").decode()
        assert (meter.done, meter.complete) == (False, False)


@pytest.mark.parametrize("api", [Api.RESPONSES, Api.IMAGE_EDIT, Api.TRANSCRIPTION])
def test_the_error_of_a_typed_stream_has_its_fields_in_both_places(api: Api) -> None:
    kind, data, *_ = DIALECTS[api].error_event(ERRORS[0]).split(b"\n")
    told = json.loads(data.removeprefix(b"data: "))
    assert kind == b"event: error"
    assert told["type"] == "error"
    for field in ("code", "message", "param"):
        assert told[field] == told["error"][field]


RECORDED: dict[Api, list[bytes]] = {
    Api.IMAGE_GENERATIONS: [
        typed("image_generation.partial_image", b64_json="AAAA", partial_image_index=0),
        typed("image_generation.completed", b64_json="AAAA", usage={"total_tokens": 9}),
    ],
    Api.IMAGE_EDIT: [typed("image_edit.completed", b64_json="AAAA", usage={"total_tokens": 9})],
    Api.SPEECH: [
        typed("speech.audio.delta", audio="AAAA"),
        typed("speech.audio.done", usage={"total_tokens": 9}),
    ],
    Api.TRANSCRIPTION: [
        typed("transcript.text.delta", delta="Hel"),
        typed("transcript.text.segment", id="1", text="Hel", start=0, end=1, speaker="A"),
        typed("transcript.text.done", text="Hel", usage={"type": "tokens", "total_tokens": 9}),
    ],
}


@pytest.mark.parametrize("end", [b"", DONE])
@pytest.mark.parametrize("api", RECORDED)
def test_what_the_package_reads_to_the_end_is_complete_for_us(api: Api, end: bytes) -> None:
    events = RECORDED[api]
    read = list(ROUTES[api][0](client(b"".join(events) + end)))
    assert len(read) == len(events)

    meter = DIALECTS[api].meter(1)
    for piece in EventScanner().feed(b"".join(events) + end):
        assert meter.see(piece) is False
    assert (meter.begun, meter.complete, meter.error) == (True, True, None)
    assert meter.usage.total_tokens == 9


@pytest.mark.parametrize(
    "last", [ImageGenCompletedEvent, ImageEditCompletedEvent, TranscriptionTextDoneEvent]
)
def test_the_events_that_end_a_stream_are_called_as_the_package_calls_them(last: Any) -> None:
    [kind] = get_args(last.model_fields["type"].annotation)
    meter = StreamMeter()
    meter.see(Piece(typed(kind), whole=True))
    assert meter.complete


def test_the_number_of_choices_counts_where_there_can_be_several() -> None:
    for api, several in ((Api.IMAGE_GENERATIONS, True), (Api.SPEECH, False)):
        meter = DIALECTS[api].meter(2)
        for piece in EventScanner().feed(RECORDED[api][-1]):
            meter.see(piece)
        assert meter.complete is not several
