"""The flow of a stream: passed on unread where it may be, and never past what it tells."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmlb.accounting import Usage
from llmlb.http.anthropic.dialect import MessagesDialect
from llmlb.http.anthropic.native import NativeDialect
from llmlb.http.anthropic.native_stream import MessageMeter
from llmlb.http.dialect import Meter
from llmlb.http.flow import EventFlow
from llmlb.http.openai.dialects import DIALECTS, ChunkDialect, ResponseDialect
from llmlb.http.openai.event_meter import EventMeter
from llmlb.http.openai.response_stream import ResponseMeter
from llmlb.http.openai.stream import StreamMeter
from llmlb.http.sse import EventScanner
from llmlb.types import Api
from tests.fakes.openai import (
    DONE,
    chunk,
    counted,
    event,
    finish,
    role,
    says,
    typed_event,
    usage_alone,
)

CHAT = DIALECTS[Api.CHAT_COMPLETIONS]

# -- a slow and plain reference


@dataclass
class Plain:
    """What a chat stream says, found out event by event and JSON by JSON."""

    choices: int = 1
    begun: bool = False
    done: bool = False
    error: bool = False
    usage: Usage = field(default_factory=Usage)
    finished: set[int] = field(default_factory=set)
    said: int = 0
    shown: bytes = b""

    def read(self, stream: bytes) -> Plain:
        for raw, whole in split(stream):
            if self.done or self.error:
                break
            if whole:
                self._see(raw)
            else:
                self.shown += raw
        return self

    @property
    def complete(self) -> bool:
        return self.done or len(self.finished) >= self.choices

    def _see(self, raw: bytes) -> None:
        alone = self._read(raw)
        if self.error:
            return
        self.said += self.begun and not self.complete and not alone and b"data:" in raw
        self.shown += b"" if alone else raw

    def _read(self, raw: bytes) -> bool:
        data: list[bytes] = []
        for line in raw.removeprefix(b"\xef\xbb\xbf").splitlines():
            name, _, value = line.partition(b":")
            if name == b"data":
                data.append(value.removeprefix(b" "))
            if (name == b"event" and value.strip() == b"error") or name == b"error":
                self.error = True
        if not data or self.error:
            return False
        if b"\n".join(data).strip() == b"[DONE]":
            self.done = True
            return False
        told: Any = None
        with suppress(ValueError):
            told = json.loads(b"\n".join(data).decode("utf-8", "surrogatepass"))
        if not isinstance(told, dict):
            self.begun = True
            return False
        return self._take(told)

    def _take(self, value: dict[str, Any]) -> bool:
        if value.get("error") or "error" in (value.get("object"), value.get("type")):
            self.error = True
            return False
        if isinstance(usage := value.get("usage"), dict):
            told = [usage.get(f"{kind}_tokens") for kind in ("prompt", "completion", "total")]
            self.usage = Usage(told[0], told[1], told[2])
        choices = value.get("choices")
        if not isinstance(choices, list):
            self.begun = True
            return False
        for choice in choices:
            if choice.get("finish_reason"):
                self.begun = True
                self.finished.add(choice["index"])
            self.begun |= bool(choice["delta"].get("content"))
        return not choices and isinstance(usage, dict)


def split(stream: bytes) -> Iterable[tuple[bytes, bool]]:
    """The events of *stream*, and whether they have their blank line."""
    held = b""
    for line in stream.splitlines(keepends=True):
        blank = not line.strip(b"\r\n") and line and held[-1:] in (b"\r", b"\n")
        held += line
        if blank:
            yield held, True
            held = b""
    if held:
        yield held, False


def all_read(meter: EventMeter) -> EventMeter:
    """A meter like *meter* that parses every event."""
    return type("Slow", (type(meter),), {"__slots__": (), "tells": lambda *_: True})()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Of:
    """As much of a dialect as a flow needs."""

    make: Callable[[], EventMeter]
    event_limit_bytes: int

    def meter(self, choices: int) -> Meter:
        return self.make()

    def translator(self) -> None:
        return None


def flowed(flow: EventFlow, reads: Iterable[bytes]) -> tuple[Any, ...]:
    """Everything that is known of a stream at its end, or where it is not read any further."""
    flow.hides_usage = True
    meter, shown = flow.meter, b""
    for read in reads:
        shown += flow.feed(read)
        if meter.done or meter.error is not None:
            break
    if meter.error is None:
        shown += flow.finish(broken=False)
    return (
        meter.begun,
        meter.done,
        meter.complete,
        meter.usage,
        meter.error,
        shown,
        flow.said_events,
    )


def flow_of(make: Callable[[], EventMeter], limit_bytes: int = 64 * 1024) -> EventFlow:
    return EventFlow(Of(make, limit_bytes), 1)  # type: ignore[arg-type]


# -- streams that want to be misread

NAMES = ("error", "usage", "finish_reason", "choices", "object", "type", "index", "delta", "id")


def spelled(text: str, every: int) -> str:
    """*text* as it may stand in JSON: each *every*-th of its characters as an escape."""
    return "".join(
        f"\\u{ord(c):04x}" if every and n % every == 0 and c.isascii() and c not in '"\\' else c
        for n, c in enumerate(text)
    )


def written(value: object, every: int, blank: str) -> str:
    """JSON with blanks around whatever may have some, and with escapes in every text."""
    match value:
        case dict():
            members = (
                f"{written(k, every, blank)}{blank}:{blank}{written(v, every, blank)}"
                for k, v in value.items()
            )
            return "{" + blank + f"{blank},{blank}".join(members) + blank + "}"
        case list():
            inner = f"{blank},".join(written(one, every, blank) for one in value)
            return "[" + blank + inner + blank + "]"
        case str():
            return json.dumps(value) if "\\" in json.dumps(value) else f'"{spelled(value, every)}"'
        case _:
            return json.dumps(value)


texts = st.sampled_from(
    ["a", "", '"usage": {', "[DONE]", "error", "data: [DONE]", "a\n\nb", "Grüße", "null", "\\u0065"]
)
counts = st.builds(counted, st.integers(0, 9), st.integers(0, 9))
deltas = st.dictionaries(st.sampled_from(["content", "role"]), texts, max_size=2)
choices = st.fixed_dictionaries(
    {"index": st.integers(0, 1), "delta": deltas},
    optional={"finish_reason": st.sampled_from([None, None, "", "stop"])},
)
values = st.fixed_dictionaries(
    {"choices": st.lists(choices, max_size=2)},
    optional={
        "usage": st.none() | counts,
        "error": st.sampled_from([None, None, "", 0, "oom", True, 7, ["oom"], {"message": "oom"}]),
        "object": st.sampled_from(["chat.completion.chunk", "error"]),
        "type": st.sampled_from(["chunk", "error"]),
        "usage ": counts,
    },
)
tokens = st.builds(lambda text: says(text or "x"), texts)


@st.composite
def events(draw: st.DrawFn) -> bytes:
    """One event, however it may be written."""
    value = draw(st.one_of(tokens, tokens, values))
    blank = draw(st.sampled_from(["", "", " ", "\n", "\t \n"]))
    text = written(value, draw(st.sampled_from([0, 0, 1, 2, 3])), blank)
    prefix = draw(st.sampled_from(["data: ", "data:", "data:  "]))
    return "".join(f"{prefix}{line}\n" for line in text.split("\n")).encode() + b"\n"


ODD = st.sampled_from(
    [
        DONE,
        b"data:[DONE]\n\n",
        b"data: \ndata: [DONE] \n\n",
        b": data: [DONE]\n\n",
        b": error\n\n",
        b"\n",
        b"\n\n",
        b"data\n\n",
        b"id: 1\n\n",
        b"event: error\n\n",
        b"event:\terror \ndata: oom\n\n",
        b"event: errors\nid: 1\n\n",
        b"\xef\xbb\xbferror: oom\n\n",
        b"\xef\xbb\xbfdata: {}\n\n",
        b"error\n\n",
        b"data: x\nerror: oom\n\n",
        b"data: no json\n\n",
        b"data: \xff\xfe\n\n",
        'data: {"error":{}}\n\n'.encode("utf-16-le"),
        b"data: " + json.dumps({"error": "oom"}).encode("utf-16-le") + b"\n\n",
        b'data: {"error":null,"error":"oom"}\n\n',
        event(chunk()).replace(b"null", b'null, "finish_reason": "stop"'),
        event(usage_alone()),
        event({"usage": counted()}),
        event({**says("a"), "usage": None, "error": None}),
    ]
)
BEGUN = event(says("begun"))


def cut(data: st.DataObject, stream: bytes) -> list[bytes]:
    """*stream* in any reads: at any byte, or in whole events."""
    places = [0, *range(1, len(stream))]
    if data.draw(st.booleans()):
        places = [n + 2 for n in places if stream[n : n + 2] == b"\n\n"] or [0]
    cuts = sorted(data.draw(st.lists(st.sampled_from(places), max_size=12)))
    return [stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])]


streams = st.builds(
    lambda parts, end: (BEGUN + b"".join(parts)).replace(b"\n", end),
    st.lists(st.one_of(events(), events(), events(), ODD), max_size=10),
    st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\r"]),
)


@settings(max_examples=300)
@given(data=st.data(), stream=streams)
def test_a_flow_agrees_with_a_plain_reading_of_every_event(
    data: st.DataObject, stream: bytes
) -> None:
    plain = Plain().read(stream)

    begun, done, complete, usage, error, shown, said = flowed(EventFlow(CHAT, 1), cut(data, stream))

    assert (begun, done, complete) == (plain.begun, plain.done, plain.complete)
    assert ((error is not None), said) == (plain.error, plain.said)
    assert shown == plain.shown
    assert usage == plain.usage


TYPED = st.sampled_from(
    [
        typed_event("response.output_text.delta", delta="a"),
        typed_event("response.output_text.delta", delta='"type":"response.completed"'),
        typed_event("response.created", response={"id": "r", "error": None}),
        typed_event("response.completed", response={"usage": counted()}),
        b'data: {"type":"response\\u002ecompleted","response":{}}\n\n',
        b'data: {"typ\\u0065":"response.incomplete"}\n\n',
        b'event:response.failed\ndata: {"response":{"error":{"message":"oom"}}}\n\n',
        b"event: a\nevent:  response.completed\ndata: {}\n\n",
        typed_event("message_start", message={"usage": {"input_tokens": 3}}),
        typed_event("content_block_delta", index=0, delta={"text": "message"}),
        typed_event("message_delta", usage={"output_tokens": 7}),
        b'data: {"type":"message\\u005fdelta","usage":{"output_tokens":8}}\n\n',
        typed_event("message_stop"),
        typed_event("error", error={"message": "oom"}),
        typed_event("image_generation.completed", b64_json="aaaa"),
        b"event: speech.audio.done\ndata: {}\n\n",
        b'data: {"type":"transcript.text.\\u0064one"}\n\n',
        typed_event("transcript.text.delta", delta=""),
        event({"choices": [], "usage": None}),
    ]
)
MAKERS = (StreamMeter, ResponseMeter, MessageMeter)


@pytest.mark.parametrize("make", MAKERS)
@settings(max_examples=200)
@given(
    data=st.data(),
    parts=st.lists(st.one_of(TYPED, ODD, events(), st.binary(max_size=9)), max_size=10),
    end=st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\r"]),
    limit_bytes=st.sampled_from([40, 120, 64 * 1024]),
)
def test_no_meter_misses_what_parsing_every_event_would_find(
    make: Callable[[], EventMeter],
    data: st.DataObject,
    parts: list[bytes],
    end: bytes,
    limit_bytes: int,
) -> None:
    begin = typed_event("content", delta="begun") if make is not StreamMeter else BEGUN
    stream = (begin + b"".join(parts)).replace(b"\n", end)
    slow = flow_of(lambda: all_read(make()), limit_bytes)

    assert flowed(flow_of(make, limit_bytes), cut(data, stream)) == flowed(slow, [stream])


# -- what is passed on unread, and how


def begun(dialect: Any = CHAT) -> EventFlow:
    flow = EventFlow(dialect, 1)
    assert flow.feed(BEGUN) == BEGUN
    assert (flow.meter.begun, flow.said_events) == (True, 1)
    return flow


@pytest.mark.parametrize("n_events", [1, 7])
def test_a_read_of_tokens_is_passed_on_as_the_same_object(n_events: int) -> None:
    flow = begun()
    read = event({**says("an error"), "usage": None}) * n_events

    assert flow.feed(read) is read
    assert flow.said_events == 1 + n_events
    assert flow.spoke


@pytest.mark.parametrize(
    ("dialect", "token"),
    [
        (CHAT, chunk({"content": 'say "usage"'}, usage=None)),
        (CHAT, chunk({"tool_calls": [{"function": {"arguments": '{"error": {'}}]})),
        (ResponseDialect(), {"type": "response.output_text.delta", "delta": "an error\n"}),
        (NativeDialect(), {"type": "content_block_delta", "delta": {"text": "<b>\u0001"}}),
    ],
)
def test_the_usual_tokens_are_not_parsed(
    dialect: Any, token: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = begun(dialect)
    monkeypatch.setattr(EventMeter, "_read", lambda *_: pytest.fail("it was parsed"))

    assert flow.feed(event(token)) == event(token)


def test_a_comment_alone_has_not_spoken_and_is_no_token() -> None:
    flow = begun()
    assert flow.feed(b": still here\n\n") == b": still here\n\n"
    assert (flow.spoke, flow.said_events) == (False, 1)


def test_an_event_on_its_way_has_spoken() -> None:
    flow = begun()
    assert flow.feed(b"data: {") == b""
    assert flow.spoke


def test_a_comment_has_not_spoken_though_its_translation_has_data() -> None:
    flow = EventFlow(MessagesDialect("m"), 1)
    assert flow.feed(BEGUN)
    assert flow.spoke
    assert flow.feed(b": still here\n\n").startswith(b"event: ping")
    assert not flow.spoke


def test_what_comes_after_the_end_is_not_passed_on() -> None:
    flow = begun()
    assert flow.feed(event(finish()) + DONE + event(says("more"))) == event(finish()) + DONE
    assert flow.meter.done
    assert flow.finish(broken=False) == b""


def test_tokens_after_every_choice_has_ended_do_not_count() -> None:
    flow = begun()
    flow.feed(event(finish()))
    flow.feed(event(says("more")))
    assert flow.said_events == 1


def test_a_tail_is_kept_until_it_is_whole() -> None:
    flow = begun()
    token = event(says("a"))
    assert flow.feed(token + token[:9]) == token
    assert flow.feed(token[9:] + b"\n") == token
    assert flow.feed(token) == b"\n" + token
    assert flow.finish(broken=False) == b""


def test_the_rest_of_a_broken_stream_is_not_passed_on() -> None:
    for broken, rest in ((True, b""), (False, b"data: {")):
        flow = begun()
        flow.feed(b"data: {")
        assert flow.finish(broken=broken) == rest


@pytest.mark.parametrize("hides", [True, False])
def test_usage_alone_is_kept_from_who_did_not_ask_for_it(hides: bool) -> None:
    flow = begun()
    flow.hides_usage = hides
    read = event(finish()) + event(usage_alone())
    assert flow.feed(read) == (event(finish()) if hides else read)
    assert flow.meter.usage == Usage(7, 3, 10)


def test_nothing_is_counted_before_the_first_content() -> None:
    flow = EventFlow(ChunkDialect("choices"), 1)
    flow.feed(event(role()) + b": x\n\n")
    assert (flow.said_events, flow.spoke) == (0, True)


@given(data=st.binary(max_size=60), held=st.binary(max_size=20))
@example(data=b"a\n\n\n", held=b"")
@example(data=b"\n\n", held=b"a\n")
@example(data=b"a\n\n\r\n", held=b"")
def test_whole_events_are_what_the_scanner_would_cut_out(data: bytes, held: bytes) -> None:
    one, other = EventScanner(50), EventScanner(50)
    before = one.feed(held)
    assert other.feed(held) == before
    block, rest = one.whole_events(data)
    if not block:
        return
    one.drop()
    pieces = other.feed(data)
    assert b"".join(p.raw for p in pieces) == block + b"".join(p.raw for p in one.feed(rest))
    assert one.rest() == other.rest()
