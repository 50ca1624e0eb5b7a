"""Streams of /v1/responses: when they begin, end and fail, however they are cut."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent

from llmlb.accounting import Usage
from llmlb.http.openai.response_stream import ResponseMeter
from llmlb.http.sse import EventScanner, Piece
from tests.fakes.openai import typed_event as event

COUNTED = {"usage": {"input_tokens": 21, "output_tokens": 3, "total_tokens": 24}}


BEFORE = [event("response.created", response={}), event("response.in_progress", response={})]
TALK = [
    event("response.output_item.added", item={}),
    event("response.output_text.delta", delta="a"),
]
END = event("response.completed", response={"status": "completed", **COUNTED})


class Remembering:
    """Notes the ids that it is told."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def __call__(self, kept_id: str) -> None:
        self.ids.append(kept_id)


def kept_by(meter: ResponseMeter) -> list[str]:
    """What the endpoint keeps, as far as *meter* was made by `metered`."""
    assert isinstance(meter.remember, Remembering)
    return meter.remember.ids


def metered(*events: bytes) -> ResponseMeter:
    meter = ResponseMeter(remember=Remembering())
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


EVENT_TYPES = sorted(
    get_args(one.model_fields["type"].annotation)[0]
    for one in get_args(get_args(ResponseStreamEvent)[0])
)
"""All that the SDK knows."""

ENDS = ["response.completed", "response.incomplete", "response.cancelled"]


def test_the_types_of_the_sdk_were_found() -> None:
    assert {"error", "response.queued", "response.output_text.delta"} <= set(EVENT_TYPES)


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_every_type_of_event_is_passed_on_but_those_that_tell_of_a_failure(kind: str) -> None:
    meter = metered(event(kind, response={}, item={}, delta="a"))
    if kind in ("error", "response.failed"):
        assert meter.error
        return
    assert meter.error is None
    waits = ("response.created", "response.queued", "response.in_progress")
    assert meter.begun == (kind not in waits)
    assert meter.done == (kind in ENDS)


def test_a_response_that_runs_in_the_background_has_not_begun_while_it_is_in_line() -> None:
    queued = event("response.queued", response={"id": "resp_1", "status": "queued"})
    meter = metered(BEFORE[0], queued, BEFORE[1])
    assert not meter.begun
    assert kept_by(meter) == ["resp_1"]


@pytest.mark.parametrize("kind", ENDS)
def test_a_response_that_has_ended_is_complete_and_counted(kind: str) -> None:
    meter = metered(*BEFORE, *TALK, event(kind, response=COUNTED))
    assert (meter.begun, meter.done, meter.complete) == (True, True, True)
    assert meter.usage == Usage(21, 3, 24)


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("long", [False, True])
def test_an_end_may_be_named_outside_of_its_data(kind: str, long: bool) -> None:
    response = {"output": "ab " * 30_000 if long else "ab", **COUNTED}
    end = f"event: {kind}\ndata: {json.dumps({'response': response})}\n\n".encode()
    assert verdict([*BEFORE, *TALK, end], 64 * 1024) == (True, True, Usage(21, 3, 24), None)


FAILURES = [
    event("response.failed", response={"error": {"code": "x", "message": "out of memory"}}),
    event("error", code="x", message="out of memory", param=None),
    b'error: {"message": "out of memory"}\n\n',
    b'data: {"error": {"message": "out of memory"}}\n\n',
    b'event: error\ndata: {"message": "out of memory"}\n\n',
    b"event: error\ndata: out of memory\n\n",
    b'event: response.failed\ndata: {"response": {"error": {"message": "out of memory"}}}\n\n',
]


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("before", [BEFORE, [*BEFORE, *TALK]])
def test_a_failure_is_seen_before_and_after_the_first_content(
    failure: bytes, before: list[bytes]
) -> None:
    meter = metered(*before, failure)
    assert meter.error == "out of memory"
    assert not meter.complete


def test_an_error_that_is_none_or_belongs_to_an_item_ends_nothing() -> None:
    item = event("response.output_item.done", item={"type": "mcp_call", "error": {"code": 1}})
    meter = metered(*BEFORE, *TALK, event("response.created", response={"error": None}), item)
    assert meter.error is None


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete"])
@pytest.mark.parametrize("read_bytes", [999, 10**6])
def test_an_end_that_repeats_a_long_answer_is_seen_and_counted(kind: str, read_bytes: int) -> None:
    end = event(kind, response={"output": [{"text": "ab " * 100_000}], **COUNTED})
    meter, scanner = ResponseMeter(), EventScanner()
    for at in range(0, len(end), read_bytes):
        assert not meter.done
        for piece in scanner.feed(end[at : at + read_bytes]):
            meter.see(piece)
    assert (meter.begun, meter.done, meter.usage) == (True, True, Usage(21, 3, 24))


def test_a_long_event_that_is_no_end_is_content() -> None:
    meter = ResponseMeter()
    for piece in EventScanner().feed(event("response.created", instructions="a" * 100_000)):
        meter.see(piece)
    assert (meter.begun, meter.done) == (True, False)


def test_text_that_speaks_of_the_end_is_no_end() -> None:
    meter = metered(
        *BEFORE, *TALK, event("response.output_text.delta", delta='"type": "response.completed"')
    )
    assert not meter.done


def test_an_event_too_long_to_be_held_is_passed_on_unread() -> None:
    meter = ResponseMeter(remember=Remembering())
    assert meter.see(Piece(event("response.created", response=KEPT), whole=False)) is False
    assert (meter.begun, kept_by(meter)) == (True, [])


def test_an_end_as_of_chat_completions_is_an_end() -> None:
    assert metered(*BEFORE, *TALK, b"data: [DONE]\n\n").complete


# -- what the endpoint keeps

KEPT = {"id": "resp_1", "conversation": {"id": "conv_1"}}


def test_the_first_event_tells_what_is_kept() -> None:
    meter = metered(event("response.created", response=KEPT))
    assert kept_by(meter) == ["resp_1", "conv_1"]
    assert not meter.begun


def test_what_a_later_event_says_changes_nothing() -> None:
    later = {"id": "resp_2", "conversation": {"id": "conv_2"}}
    meter = metered(
        event("response.created", response=KEPT), *TALK, event("response.completed", response=later)
    )
    assert kept_by(meter) == ["resp_1", "conv_1"]


def test_the_last_event_tells_it_if_no_other_did() -> None:
    assert kept_by(metered(*BEFORE, *TALK)) == []
    end = event("response.completed", response=KEPT)
    assert kept_by(metered(*BEFORE, *TALK, end)) == ["resp_1", "conv_1"]


def test_nothing_is_kept_where_the_endpoint_says_that_it_does_not_store() -> None:
    meter = metered(event("response.created", response={**KEPT, "store": False}), *TALK)
    assert kept_by(meter) == []


def test_a_token_that_spells_an_id_is_only_a_token() -> None:
    delta = event("response.output_text.delta", delta="a", response={"id": "resp_9"})
    assert kept_by(metered(*BEFORE, *TALK, delta)) == []


def cut(data: st.DataObject, stream: bytes) -> list[bytes]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def verdict(reads: list[bytes], limit_bytes: int) -> tuple[bool, bool, Usage, str | None]:
    meter, scanner = ResponseMeter(), EventScanner(limit_bytes)
    for read in reads:
        for piece in scanner.feed(read):
            meter.see(piece)
    return meter.begun, meter.done, meter.usage, meter.error


@given(data=st.data(), limit_bytes=st.sampled_from([40, 64 * 1024]))
def test_the_end_is_seen_however_the_stream_is_cut(data: st.DataObject, limit_bytes: int) -> None:
    reads = cut(data, b"".join([*BEFORE, *TALK, END]))
    assert verdict(reads, limit_bytes) == (True, True, Usage(21, 3, 24), None)


@given(data=st.data())
def test_every_split_gives_the_same_result(data: st.DataObject) -> None:
    noise = [b"data: [DONE]\n\n", b": x\n\n", b"data\n\n", b"\xff\n\n", b"\xef\xbb\xbf"]
    known = st.sampled_from([*BEFORE, *TALK, END, *FAILURES, *noise])
    events = data.draw(st.lists(known | st.binary(max_size=20), max_size=10))
    line_end = data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    stream = b"".join(events).replace(b"\n", line_end)
    limit_bytes = data.draw(st.sampled_from([40, 90, 64 * 1024]))

    whole = verdict([stream], limit_bytes)

    assert verdict(cut(data, stream), limit_bytes) == whole
    assert verdict([bytes([byte]) for byte in stream], limit_bytes) == whole


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


responses = st.dictionaries(
    st.sampled_from(["id", "conversation", "store", "usage", "error"]),
    json_values | st.fixed_dictionaries({"id": json_values}),
)


@pytest.mark.parametrize("frame", [b'{"error":%s}', b'{"type":"error","message":%s}'])
def test_no_depth_of_json_breaks_the_meter(frame: bytes) -> None:
    for depth in range(900, 1050):
        nested = frame % (b"[" * depth + b"]" * depth)
        ResponseMeter().see(Piece(b"data: " + nested + b"\n\n", whole=True))


@given(
    told=st.dictionaries(
        st.sampled_from(["type", "response", "error", "message"]),
        json_values | responses | st.sampled_from(EVENT_TYPES),
    ),
    begun=st.booleans(),
)
def test_no_event_breaks_the_meter(told: dict[str, Any], begun: bool) -> None:
    kept: list[str] = []
    meter = ResponseMeter(begun=begun, remember=kept.append)
    meter.see(Piece(b"data: " + json.dumps(told).encode() + b"\n\n", whole=True))
    assert all(kept)
