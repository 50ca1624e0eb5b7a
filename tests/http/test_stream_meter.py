"""The stream meter: has it begun, is it complete, what did it cost, whatever the reads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.accounting import Usage
from llmlb.http.openai.stream import StreamMeter
from llmlb.http.sse import EventScanner, Piece
from tests.fakes.openai import DONE, chunk, counted, event, finish, role, says, usage_alone

STREAM = [
    b": hello\n\n",
    event(role()),
    event(says("Grüße 👋")),
    event(chunk({"tool_calls": [{"function": {"arguments": '{"error": {'}}]})),
    event(chunk({"content": "x"}, usage=counted(5, 1))),
    event(says("B", index=1)),
    event(finish(index=1)),
    event(finish("length")),
    event(usage_alone(5, 9)),
    DONE,
]

ENDINGS = [
    b'data: {"error": {"message": "oom"}}\n\n',
    b'event: error\ndata: {"message": "oom"}\n\n',
    b'error: {"message": "oom"}\n\n',
    b'data: {"object": "error", "message": "oom"}\n\n',
    b"data: half an ev",
    b"data: not json\n\n",
    b"data: [1]\n\n",
    b"data: [DONE] \n\n",
    b"data:[DONE]\n\n",
    b'id: 1\ndata: {"choices":[],"usage":{"prompt_tokens":2}}\n\n',
    b'data: {"usage":{"prompt_tokens":3}}\n\n',
    b"\xff\xfe\xfd\n\n",
]


def metered(reads: list[bytes], choices: int = 1) -> tuple[Any, ...]:
    meter, scanner = StreamMeter(choices=choices), EventScanner()
    hidden = [
        piece.raw.strip() for read in reads for piece in scanner.feed(read) if meter.see(piece)
    ]
    return meter.begun, meter.done, meter.complete, meter.usage, meter.error, hidden


def with_line_ends(stream: bytes, end: bytes) -> bytes:
    return stream.replace(b"\n", end)


@given(data=st.data())
def test_every_split_gives_the_same_result(data: st.DataObject) -> None:
    events = data.draw(st.lists(st.sampled_from([*STREAM, *ENDINGS]), max_size=12))
    line_end = data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    stream = with_line_ends(b"".join(events), line_end)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    reads = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    choices = data.draw(st.integers(1, 3))

    assert metered(reads, choices) == metered([stream], choices)


@given(stream=st.binary(max_size=300), text=st.text(max_size=300))
def test_no_stream_breaks_the_meter(stream: bytes, text: str) -> None:
    for raw in (stream, text.encode("utf-8", "surrogatepass")):
        metered([b"data: " + raw + b"\n\n"])
        metered([event(says("begun")) + b"data: " + raw + b"\n\n"])
        metered([raw])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(
    fields=st.dictionaries(
        st.sampled_from(["choices", "usage", "error", "object", "id"]), json_values
    ),
    choice=st.dictionaries(
        st.sampled_from(["index", "delta", "text", "finish_reason", "message"]), json_values
    ),
    begun=st.booleans(),
)
def test_no_chunk_breaks_the_meter(
    fields: dict[str, Any], choice: dict[str, Any], begun: bool
) -> None:
    meter = StreamMeter(begun=begun)
    for value in (fields, {**fields, "choices": [choice]}, {"choices": [choice, choice]}):
        meter.see(Piece(event(value), whole=True))
    assert meter.error is None or meter.error


@given(deltas=st.lists(st.dictionaries(st.text(max_size=12), st.text(max_size=40)), max_size=8))
def test_what_a_model_says_is_never_taken_for_anything_else(deltas: list[dict[str, str]]) -> None:
    """Its text is inside JSON strings, where quotes and line ends are escaped."""
    meter = StreamMeter()
    meter.see(Piece(event(says("begun")), whole=True))
    for delta in deltas:
        text = json.dumps(delta) + '\n\ndata: [DONE]\n\n"finish_reason": "stop"'
        assert not meter.see(Piece(event(says(text)), whole=True))
    assert (meter.done, meter.complete, meter.error, meter.usage) == (False, False, None, Usage())


def test_a_stream_as_it_should_be() -> None:
    begun, done, complete, usage, error, hidden = metered(STREAM, choices=2)

    assert (begun, done, complete, error) == (True, True, True, None)
    assert usage == Usage(5, 9, 14)
    assert hidden == [event(usage_alone(5, 9)).strip()]


def test_the_last_usage_counts() -> None:
    usages = [event(chunk({"content": "x"}, usage=counted(5, n))) for n in (1, 2, 3)]
    assert metered(usages)[3] == Usage(5, 3, 8)


@pytest.mark.parametrize("first", [True, False])
def test_tokens_are_not_parsed_once_content_flows(first: bool) -> None:
    """Broken JSON in the middle is not looked at, so it cannot be looked at in vain either."""
    meter = StreamMeter(begun=not first)
    assert not meter.see(Piece(b"data: {broken\n\n", whole=True))
    assert meter.begun


def test_a_part_of_a_long_event_counts_as_content() -> None:
    meter = StreamMeter()
    assert not meter.see(Piece(b"data: [DONE]\n\n", whole=False))
    assert (meter.begun, meter.done) == (True, False)


def test_choices_that_nobody_asked_for_take_no_memory() -> None:
    meter = StreamMeter(choices=2)
    for index in range(1000):
        meter.see(Piece(event(finish(index=index)), whole=True))
    assert len(meter._finished) == 2


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (b"event: error\n\n", "error"),
        (b'event: error\ndata: "oom"\n\n', "oom"),
        (b'event: error\ndata: {"error": {"message": "oom"}}\n\n', "oom"),
        (b"error: oom\n\n", "oom"),
        (b"\nerror: oom\n\n", "oom"),
        (b'data: {"error": "oom"}\n\n', "oom"),
        (b'data: {"error": {"code": 500}}\n\n', '{"code": 500}'),
        (b'data: {"id": 1, "error": {"message": "oom"}}\n\n', "oom"),
    ],
)
@pytest.mark.parametrize("begun", [True, False])
def test_an_error_is_told_in_its_own_words(last: bytes, message: str, begun: bool) -> None:
    meter = StreamMeter(begun=begun)
    meter.see(Piece(last, whole=True))
    assert meter.error == message
