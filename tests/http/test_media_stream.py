"""Streams of images, speech and transcripts: when they begin, end and fail, however cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.accounting import Usage
from llmlb.http.openai.long_event import EDGE_BYTES
from llmlb.http.openai.stream import StreamMeter
from llmlb.http.sse import EventScanner
from tests.fakes.openai import DONE
from tests.fakes.openai import typed_event as event

COUNTED = {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}
USAGE = Usage(14, 101, 115)
LIMIT_BYTES = 64 * 1024


def picture(kind: str, size_bytes: int = 8, **fields: Any) -> bytes:
    return event(kind, b64_json="A" * size_bytes, size="1024x1024", **fields)


def heard(text: str, finish: str | None = None) -> bytes:
    """A chunk as vLLM sends it."""
    choice = {"delta": {"content": text}, "finish_reason": finish}
    return (
        b"data: %b\n\n"
        % json.dumps({"object": "transcription.chunk", "choices": [choice]}).encode()
    )


SKETCH = picture("image_generation.partial_image", partial_image_index=0)
IMAGE = picture("image_generation.completed", usage=COUNTED)
EDITED = picture("image_edit.completed", usage=COUNTED)
SOUND = event("speech.audio.delta", audio="AAAA")
SPOKEN = event("speech.audio.done", usage=COUNTED)
TEXT = event("transcript.text.delta", delta="Hello")
SEGMENT = event("transcript.text.segment", id="1", text="Hello", start=0, end=1, speaker="A")
HEARD = event("transcript.text.done", text="Hello", usage={"type": "tokens", **COUNTED})

STREAMS = {
    "images": [SKETCH, IMAGE],
    "an edited image": [picture("image_edit.partial_image"), EDITED],
    "speech": [SOUND, SOUND, SPOKEN],
    "a transcript": [event("transcript.text.delta", delta=""), TEXT, SEGMENT, HEARD],
    "a transcript as vLLM tells it": [
        heard(""),
        heard("Hello"),
        heard("", "stop"),
        b'data: {"choices": [], "usage": %b}\n\n' % json.dumps(COUNTED).encode(),
    ],
    "a transcript whose type stands outside": [
        TEXT,
        b'event: transcript.text.done\ndata: {"text":"","usage":%b}\n\n'
        % json.dumps(COUNTED).encode(),
    ],
}


def metered(
    reads: list[bytes], choices: int = 1, limit_bytes: int = LIMIT_BYTES
) -> tuple[bool, bool, bool, Usage, str | None]:
    meter, scanner = StreamMeter(choices=choices), EventScanner(limit_bytes)
    for read in reads:
        for piece in scanner.feed(read):
            meter.see(piece)
    return meter.begun, meter.done, meter.complete, meter.usage, meter.error


def cut(data: st.DataObject, stream: bytes) -> list[bytes]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_complete_with_its_last_event_and_counted(name: str) -> None:
    events = STREAMS[name]
    ended = [metered(events[: n + 1])[2] for n in range(len(events))]
    assert ended == sorted(ended)
    assert ended[0] is False
    assert metered(events) == (True, False, True, USAGE, None)
    assert metered([*events, DONE]) == (True, True, True, USAGE, None)


@pytest.mark.parametrize("first", [SKETCH, IMAGE, SOUND, TEXT, SEGMENT, HEARD, heard("Hello")])
def test_the_first_content_begins_it(first: bytes) -> None:
    assert metered([b": wait\n\n"])[0] is False
    assert metered([b": wait\n\n", first])[0] is True


@pytest.mark.parametrize(
    "silent",
    [
        event("transcript.text.delta", delta=""),
        event("transcript.text.delta"),
        event("speech.audio.delta", audio=""),
        heard(""),
    ],
)
def test_a_delta_of_nothing_does_not(silent: bytes) -> None:
    assert metered([silent]) == (False, False, False, Usage(), None)


def test_as_many_images_have_to_be_complete_as_were_asked_for() -> None:
    assert not metered([SKETCH, IMAGE, SKETCH], choices=2)[2]
    assert metered([SKETCH, IMAGE, SKETCH, IMAGE], choices=2)[2]
    assert metered([IMAGE] * 5, choices=2) == (True, False, True, USAGE, None)


LONG = 5 * LIMIT_BYTES
LONG_ENDS = {
    "usage at its end": picture("image_generation.completed", LONG, usage=COUNTED),
    "usage and type at its end": b"data: %b\n\n"
    % json.dumps(
        {"b64_json": "A" * LONG, "type": "image_edit.completed", "usage": COUNTED}
    ).encode(),
    "usage at its beginning": event(
        "image_generation.completed", usage=COUNTED, b64_json="A" * LONG
    ),
    "its type in the event's own field": b"event: image_edit.completed\ndata: %b\n\n"
    % json.dumps({"b64_json": "A" * LONG, "usage": COUNTED}).encode(),
    "a long transcript": event("transcript.text.done", text="ab " * LONG, usage=COUNTED),
}


@pytest.mark.parametrize("name", LONG_ENDS)
@pytest.mark.parametrize("read_bytes", [1000, LIMIT_BYTES, 10 * LONG])
def test_an_end_too_long_to_be_held_is_seen_and_counted(name: str, read_bytes: int) -> None:
    end = LONG_ENDS[name]
    reads = [end[i : i + read_bytes] for i in range(0, len(end), read_bytes)]
    assert metered(reads) == (True, False, True, USAGE, None)
    assert metered([picture("image_generation.partial_image", LONG), *reads])[2:4] == (True, USAGE)
    assert metered([end[:-1]])[2] is False  # it has not ended yet


def test_usage_in_the_middle_of_a_long_event_is_lost_and_nothing_else() -> None:
    end = event("speech.audio.done", a="A" * LONG, usage=COUNTED, b="B" * LONG)
    assert metered([end]) == (True, False, True, Usage(), None)


def test_usage_that_is_cut_off_at_the_edge_is_none() -> None:
    head = b'event: speech.audio.done\ndata: {"a":"'
    head += b"A" * (EDGE_BYTES - len(head) - 20) + b'","usage":{"total_tokens":1'
    assert metered([head + b"1" * LONG + b"}}\n\n"])[2:4] == (True, Usage())


@pytest.mark.parametrize("long", [False, True])
def test_text_that_speaks_of_the_end_is_no_end(long: bool) -> None:
    text = ('"type": "transcript.text.done", "usage": {"total_tokens": 5}\n' * 20) + "A" * (
        LONG if long else 0
    )
    text += '"type": "transcript.text.done", "usage": {"total_tokens": 5}\nevent: speech.audio.done'
    said = event("transcript.text.delta", delta=text)
    assert metered([TEXT, said]) == (True, False, False, Usage(), None)


FAILURES = [
    event("error", error={"message": "out of memory", "type": "server_error"}),
    event("error", code="x", message="out of memory", param=None),
    b'data: {"type": "error", "message": "out of memory"}\n\n',
    b'event: error\ndata: {"message": "out of memory"}\n\n',
    b"event: error\ndata: out of memory\n\n",
    b'data: {"error": {"message": "out of memory"}}\n\n',
    b'data: {"error": "out of memory"}\n\n',
    b'data: {"object": "error", "message": "out of memory", "code": 500}\n\n',
    b'error: {"message": "out of memory"}\n\n',
]


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("before", [[], [SKETCH], [SOUND], [TEXT], [heard("Hello")]])
def test_a_failure_is_seen_before_and_after_the_first_content(
    failure: bytes, before: list[bytes]
) -> None:
    *_, complete, usage, error = metered([*before, failure])
    assert (complete, usage, error) == (False, Usage(), "out of memory")


@given(data=st.data())
def test_every_split_gives_the_same_result(data: st.DataObject) -> None:
    known = [one for events in STREAMS.values() for one in events]
    noise = [DONE, b": x\n\n", b"data\n\n", b"\xff\n\n", b"data: [1]\n\n", b"\xef\xbb\xbf"]
    events = data.draw(st.lists(st.sampled_from([*known, *FAILURES, *noise]), max_size=10))
    line_end = data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    stream = b"".join(events).replace(b"\n", line_end)
    choices, limit_bytes = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([40, 90, 4096]))

    whole = metered([stream], choices, limit_bytes)

    assert metered(cut(data, stream), choices, limit_bytes) == whole
    assert metered([bytes([byte]) for byte in stream], choices, limit_bytes) == whole


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(
    told=st.dictionaries(
        st.sampled_from(["type", "delta", "audio", "usage", "error", "text", "choices"]),
        json_values | st.sampled_from(["image_edit.completed", "error", ".delta"]),
    ),
    begun=st.booleans(),
    limit_bytes=st.sampled_from([8, LIMIT_BYTES]),
)
def test_no_event_breaks_the_meter(told: dict[str, Any], begun: bool, limit_bytes: int) -> None:
    raw = b"data: %b\n\n" % json.dumps(told).encode()
    metered([SOUND, raw] if begun else [raw], 1, limit_bytes)


@given(data=st.data(), stream=st.binary(max_size=200), limit_bytes=st.integers(4, 60))
def test_no_bytes_break_the_meter_and_it_holds_no_more_than_two_ends(
    data: st.DataObject, stream: bytes, limit_bytes: int
) -> None:
    meter, scanner = StreamMeter(), EventScanner(limit_bytes)
    for read in cut(data, stream + b"A" * data.draw(st.sampled_from([0, 3 * EDGE_BYTES]))):
        for piece in scanner.feed(read):
            meter.see(piece)
        assert len(meter._long._head) <= EDGE_BYTES
        assert len(meter._long._tail) <= EDGE_BYTES
