"""Streams of /v1/responses: when they begin, end and fail, however they are cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.accounting import Usage
from llmlb.http.openai.response_stream import ResponseMeter
from llmlb.http.sse import EventScanner, Piece

COUNTED = {"usage": {"input_tokens": 21, "output_tokens": 3, "total_tokens": 24}}


def event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": kind, **fields}).encode()
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


BEFORE = [event("response.created", response={}), event("response.in_progress", response={})]
TALK = [
    event("response.output_item.added", item={}),
    event("response.output_text.delta", delta="a"),
]
END = event("response.completed", response={"status": "completed", **COUNTED})


def metered(*events: bytes) -> ResponseMeter:
    meter = ResponseMeter()
    for one in events:
        assert meter.see(Piece(one, whole=True)) is False
    return meter


def test_nothing_is_said_before_an_item_or_a_delta() -> None:
    assert not metered(*BEFORE, b": a comment\n\n", event("response.queued")).begun


@pytest.mark.parametrize("first", [*TALK, event("response.anything.new"), b"data: no json\n\n"])
def test_the_first_content_begins_it(first: bytes) -> None:
    meter = metered(*BEFORE, first)
    assert meter.begun
    assert not meter.complete


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete"])
def test_a_response_that_has_ended_is_complete_and_counted(kind: str) -> None:
    meter = metered(*BEFORE, *TALK, event(kind, response=COUNTED))
    assert (meter.begun, meter.done, meter.complete) == (True, True, True)
    assert meter.usage == Usage(21, 3, 24)


FAILURES = [
    event("response.failed", response={"error": {"code": "x", "message": "out of memory"}}),
    event("error", code="x", message="out of memory", param=None),
    b'error: {"message": "out of memory"}\n\n',
]


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("before", [BEFORE, [*BEFORE, *TALK]])
def test_a_failure_is_seen_before_and_after_the_first_content(
    failure: bytes, before: list[bytes]
) -> None:
    meter = metered(*before, failure)
    assert meter.error == "out of memory"
    assert not meter.complete


def test_an_error_of_another_dialect_is_seen_as_long_as_nothing_was_said() -> None:
    meter = metered(*BEFORE, b'data: {"error": {"message": "out of memory"}}\n\n')
    assert meter.error == "out of memory"


def test_text_that_speaks_of_the_end_is_no_end() -> None:
    meter = metered(
        *BEFORE, *TALK, event("response.output_text.delta", delta='"type": "response.completed"')
    )
    assert not meter.done


@given(data=st.data())
def test_the_result_does_not_depend_on_how_the_stream_is_cut(data: st.DataObject) -> None:
    stream = b"".join([*BEFORE, *TALK, END])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    meter, scanner = ResponseMeter(), EventScanner()
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        for piece in scanner.feed(stream[start:end]):
            meter.see(piece)
    assert (meter.begun, meter.done, meter.usage) == (True, True, Usage(21, 3, 24))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(
    told=st.dictionaries(st.sampled_from(["type", "response", "error", "message"]), json_values),
    begun=st.booleans(),
)
def test_no_event_breaks_the_meter(told: dict[str, Any], begun: bool) -> None:
    meter = ResponseMeter(begun=begun)
    meter.see(Piece(b"data: " + json.dumps(told).encode() + b"\n\n", whole=True))
