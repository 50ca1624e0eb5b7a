"""Messages as endpoints that speak them answer: recorded from llama.cpp, and made up."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.accounting import Usage
from llmlb.errors import UpstreamError
from llmlb.http.anthropic.native import CountTokensDialect, NativeDialect
from llmlb.http.anthropic.native_stream import MessageMeter
from llmlb.http.sse import EventScanner
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from tests.fakes.openai import typed_event as event

RECORDED = Path(__file__).parent / "recorded"


def recorded(name: str) -> bytes:
    return (RECORDED / name).read_bytes()


START = event("message_start", message={"usage": {"input_tokens": 5, "output_tokens": 1}})
BLOCK = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
TEXT = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "hi"})
LAST = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 9})
STOP = event("message_stop")


def seen(*pieces: bytes) -> MessageMeter:
    meter, scanner = MessageMeter(), EventScanner()
    for piece in pieces:
        for part in scanner.feed(piece):
            assert meter.see(part) is False
    return meter


def test_a_recorded_stream_is_followed_to_its_end() -> None:
    stream = recorded("llamacpp_messages.sse")
    whole = seen(stream)
    assert (whole.begun, whole.done, whole.complete, whole.error) == (True, True, True, None)
    assert whole.usage.input_tokens == 21
    assert whole.usage.output_tokens
    assert seen(*(stream[n : n + 1] for n in range(len(stream)))) == whole


def test_nothing_is_content_before_the_first_block() -> None:
    assert not seen(START, event("ping"), b": comment\n\n").begun
    for first in (BLOCK, TEXT, LAST, event("something_new")):
        assert seen(START, first).begun


def test_tokens_are_counted_from_the_beginning() -> None:
    first = event("message_delta", delta={}, usage={"output_tokens": 4})
    assert seen(START, BLOCK, first, LAST, STOP).usage == Usage(5, 9)


def test_cached_tokens_are_input_too() -> None:
    usage = {"input_tokens": 1, "cache_read_input_tokens": 23, "output_tokens": 0}
    assert seen(event("message_start", message={"usage": usage})).usage.input_tokens == 24


@pytest.mark.parametrize("end", [b"", LAST])
def test_a_stream_without_its_stop_is_not_whole(end: bytes) -> None:
    meter = seen(START, BLOCK, TEXT, end)
    assert (meter.begun, meter.complete) == (True, False)


@pytest.mark.parametrize(
    "error",
    [
        event("error", error={"type": "overloaded_error", "message": "boom"}),
        b'data: {"type":"error","error":{"message":"boom"}}\n\n',
        b'data: {"error":{"message":"boom"}}\n\n',
        b'event: error\ndata: {"error":"boom"}\n\n',
        b"event: error\ndata: boom\n\n",
        b'error: {"message":"boom"}\n\n',
    ],
)
@pytest.mark.parametrize("before", [(), (START, BLOCK, TEXT)])
def test_an_error_is_found_wherever_it_comes(error: bytes, before: tuple[bytes, ...]) -> None:
    meter = seen(*before, error)
    assert meter.error == "boom"
    assert meter.begun == bool(before)


def test_text_that_looks_like_an_end_is_text() -> None:
    said = json.dumps('"type":"message_stop"\nevent: error')
    text = f'data: {{"type":"content_block_delta","delta":{{"text":{said}}}}}\n\n'.encode()
    meter = seen(START, BLOCK, text)
    assert (meter.done, meter.error) == (False, None)


def test_what_is_not_understood_is_not_withheld() -> None:
    for odd in (b"data: {\n\n", b"data: []\n\n", b"data: " + b"[" * 5000 + b"\n\n", b"x" * 70_000):
        assert seen(odd).begun


def test_done_ends_this_stream_too() -> None:
    assert seen(START, BLOCK, b"data: [DONE]\n\n").done


@given(st.lists(st.sampled_from([START, BLOCK, TEXT, LAST, STOP, b"\xff", b"\r\n"]) | st.binary()))
def test_no_stream_breaks_the_meter(pieces: list[bytes]) -> None:
    seen(*pieces)


# -- whole answers


def test_a_recorded_message_is_an_answer() -> None:
    body = recorded("llamacpp_messages.json")
    assert NativeDialect().answer(body) == (body, Usage(54, 6))


def test_a_recorded_count_is_an_answer() -> None:
    body = recorded("llamacpp_count.json")
    assert CountTokensDialect().answer(body) == (body, Usage())


def test_a_message_may_end_without_content() -> None:
    body = b'{"type":"message","content":[],"stop_reason":"end_turn"}'
    assert NativeDialect().answer(body) == (body, Usage())


BAD = [
    b"",
    b" ",
    b"{",
    b"[]",
    b"null",
    b"[" * 5000,
    b"\xff",
    b'{"error":{"message":"boom"}}',
    b'{"type":"error"}',
    b"{}",
]


@pytest.mark.parametrize("body", [*BAD, b'{"content":"hi"}', b'{"content":[]}'])
def test_what_is_no_message_is_a_bad_answer(body: bytes) -> None:
    with pytest.raises(UpstreamFault) as caught:
        NativeDialect().answer(body)
    assert caught.value.kind is FaultKind.BAD_ANSWER


@pytest.mark.parametrize("body", [*BAD, b'{"input_tokens":"1"}', b'{"input_tokens":true}'])
def test_what_counts_nothing_is_a_bad_answer(body: bytes) -> None:
    with pytest.raises(UpstreamFault):
        CountTokensDialect().answer(body)


@given(st.binary())
def test_no_answer_breaks_it(body: bytes) -> None:
    for dialect in (NativeDialect(), CountTokensDialect()):
        with suppress(UpstreamFault):
            dialect.answer(body)


def test_errors_are_anthropics() -> None:
    error = UpstreamError("boom")
    told = json.loads(NativeDialect().error_body(error, "req-1"))
    assert told["error"] == {"type": "api_error", "message": "boom"}
    assert NativeDialect().error_event(error).startswith(b"event: error\ndata: ")
