"""ChatToMessages: the events of a message, from any stream of chat chunks."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.http.anthropic.blocks import CALL_LIMIT, NAMELESS_LIMIT_CHARS
from llmlb.http.anthropic.stream import EVENT_LIMIT_BYTES, PING, ChatToMessages
from llmlb.http.sse import EventScanner, data_of, type_of
from llmlb.http.upstream.faults import UpstreamFault
from tests.fakes.openai import DONE, chunk, event, finish, role, says, usage_alone, wire
from tests.http.anthropic.requests import jsons

RECORDED = Path(__file__).parent / "recorded"


def translated(*pieces: bytes, thinking: bool = False) -> bytes:
    """The whole stream that comes out when *pieces* of a chat stream go in."""
    serial = itertools.count()
    translator = ChatToMessages("tiny", thinking=thinking, fresh=lambda: f"fresh{next(serial)}")
    scanner = EventScanner(EVENT_LIMIT_BYTES)
    out = [translator.feed(p.raw) for data in pieces for p in scanner.feed(data)]
    return b"".join([*out, translator.finish()])


def events_of(stream: bytes) -> list[dict[str, Any]]:
    events = []
    for piece in EventScanner().feed(stream):
        fields = json.loads(data_of(piece.raw) or b"")
        assert fields["type"].encode() == type_of(piece.raw)
        events.append(fields)
    return events


def events(*chunks: object, thinking: bool = False, done: bool = True) -> list[dict[str, Any]]:
    return events_of(translated(wire(*chunks, done=done), thinking=thinking))


def kinds(told: list[dict[str, Any]]) -> list[str]:
    short = {"content_block_start": "start", "content_block_delta": "delta"}
    return [
        f"{short.get(e['type'], 'stop')} {e['index']}" if "index" in e else e["type"] for e in told
    ]


def message_of(told: list[dict[str, Any]]) -> dict[str, Any]:
    """The message that a client puts together, by the rules of the official one."""
    assert told[0]["type"] == "message_start"
    message: dict[str, Any] = dict(told[0]["message"])
    content: list[dict[str, Any]] = []
    inputs: dict[int, str] = {}
    open_blocks: set[int] = set()
    for one in told[1:]:
        match one["type"]:
            case "content_block_start":
                assert one["index"] == len(content)
                open_blocks.add(one["index"])
                content.append(dict(one["content_block"]))
            case "content_block_delta":
                assert one["index"] in open_blocks
                delta, block = one["delta"], content[one["index"]]
                match delta["type"]:
                    case "text_delta":
                        block["text"] += delta["text"]
                    case "thinking_delta":
                        block["thinking"] += delta["thinking"]
                    case "input_json_delta":
                        inputs.setdefault(one["index"], "")
                        inputs[one["index"]] += delta["partial_json"]
            case "content_block_stop":
                open_blocks.remove(one["index"])
            case "message_delta":
                assert not open_blocks
                message |= one["delta"]
                message["usage"] = one["usage"]
    for index, text in inputs.items():
        content[index]["input"] = json.loads(text)
    assert told[-1] == {"type": "message_stop"}
    return {**message, "content": content}


def calls(*pieces: Any) -> Any:
    return chunk({"tool_calls": list(pieces)})


def call(index: Any, arguments: Any = None, **fields: Any) -> dict[str, Any]:
    """A piece of a call; with `name` or `id`, its beginning."""
    function = {"arguments": arguments} if arguments is not None else {}
    if "name" in fields:
        function["name"] = fields.pop("name")
    return {
        **({} if index is None else {"index": index}),
        "type": "function",
        "function": function,
        **fields,
    }


def test_text_becomes_the_full_sequence_of_events() -> None:
    told = events(role(), says("Hel"), says("lo."), finish(), usage_alone(7, 3))
    assert [one["type"] for one in told] == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert told[0]["message"] == {
        "id": "msg_c-1",
        "type": "message",
        "role": "assistant",
        "model": "tiny",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 0,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
        },
    }
    assert told[2]["content_block"] == {"type": "text", "text": ""}
    assert told[3]["delta"] == {"type": "text_delta", "text": "Hel"}
    assert told[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert (told[-2]["usage"]["input_tokens"], told[-2]["usage"]["output_tokens"]) == (7, 3)


def test_arguments_split_over_chunks_come_as_they_come() -> None:
    told = events(
        role(),
        says("Let me see."),
        calls(call(0, "", name="weather", id="call_1")),
        calls(call(0, '{"ci')),
        calls(call(0, 'ty":"Oslo"}')),
        finish("tool_calls"),
    )
    assert kinds(told)[2:-2] == [
        *("start 0", "delta 0", "stop 0"),
        *("start 1", "delta 1", "delta 1", "stop 1"),
    ]
    assert told[5]["content_block"] == {
        "type": "tool_use",
        "id": "call_1",
        "name": "weather",
        "input": {},
    }
    assert told[6]["delta"] == {"type": "input_json_delta", "partial_json": '{"ci'}
    message = message_of(told)
    assert message["stop_reason"] == "tool_use"
    assert message["content"][1]["input"] == {"city": "Oslo"}


def test_parallel_calls_follow_one_another() -> None:
    told = events(
        calls(call(0, '{"n":', name="f", id="a")),
        calls(call(0, "0}")),
        calls(call(1, '{"n":1}', name="g", id="b"), call(2, '{"n":2}', name="h", id="c")),
        finish("tool_calls"),
    )
    assert kinds(told)[2:-2] == [
        *("start 0", "delta 0", "delta 0", "stop 0"),
        *("start 1", "delta 1", "stop 1"),
        *("start 2", "delta 2", "stop 2"),
    ]
    assert [block["input"]["n"] for block in message_of(told)["content"]] == [0, 1, 2]


def test_calls_whose_pieces_are_mixed_stay_apart() -> None:
    told = events(
        calls(call(0, '{"n":', name="f", id="a")),
        calls(call(1, '{"n":', name="g", id="b")),
        says("And"),
        calls(call(0, "0}"), call(1, "1}")),
        finish("tool_calls"),
    )
    content = message_of(told)["content"]
    assert [(b["type"], b.get("name"), b.get("input")) for b in content] == [
        ("tool_use", "f", {"n": 0}),
        ("tool_use", "g", {"n": 1}),
        ("text", None, None),
    ]


def test_nothing_is_added_to_a_call_that_has_ended() -> None:
    told = events(
        calls(call(0, '{"n":0}', name="f", id="a"), call(1, '{"n":1}', name="g", id="b")),
        calls(call(0, " ")),
        finish("tool_calls"),
    )
    assert kinds(told)[2:5] == ["start 0", "delta 0", "stop 0"]
    assert [block["input"]["n"] for block in message_of(told)["content"]] == [0, 1]


@pytest.mark.parametrize(
    "pieces",
    [
        [call(0, "{}", name="f", id="a"), call(0, "{}", name="g", id="b")],
        [call(None, "{}", name="f", id="a"), call(None, "{}", name="g", id="b")],
        [call(None, "{}", name="f"), call(None, "{}", name="g")],
        [call(None, "{", name="f"), call(None, "}"), call(None, {}, name="g")],
        [call(0, "{}"), call(0, name="f"), call(1, "{}"), call(1, "", name="g", id="b")],
        [call(0, "{}", name="f", id="a"), call(0, " ", name="f", id="a"), call(1, name="g")],
    ],
)
def test_calls_of_engines_with_ways_of_their_own(pieces: list[Any]) -> None:
    for chunks in ([calls(*pieces)], [calls(piece) for piece in pieces]):
        content = message_of(events(*chunks, finish("tool_calls")))["content"]
        assert [(block["name"], block["input"]) for block in content] == [("f", {}), ("g", {})]
        assert len({block["id"] for block in content}) == 2


def test_a_call_that_never_gets_a_name_is_told_all_the_same() -> None:
    content = message_of(events(says("a"), calls(call(0, '{"n":1}')), finish()))["content"]
    assert content[1] == {"type": "tool_use", "id": "toolu_fresh0", "name": "", "input": {"n": 1}}


def test_reasoning_is_passed_on_to_those_who_ask_for_it() -> None:
    chunks = [chunk({"reasoning_content": "h"}), chunk({"reasoning": "m"}), says("Yes."), finish()]
    assert [b["type"] for b in message_of(events(*chunks))["content"]] == ["text"]
    assert message_of(events(*chunks, thinking=True))["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "Yes."},
    ]


def test_a_refusal_is_text_and_a_reason() -> None:
    message = message_of(events(chunk({"refusal": "No."}), finish()))
    assert message["content"] == [{"type": "text", "text": "No."}]
    assert message["stop_reason"] == "refusal"


def test_the_stop_sequence_is_told_where_the_endpoint_tells_it() -> None:
    end = finish("stop")
    end["choices"][0]["stop_reason"] = "END"
    message = message_of(events(says("a"), end))
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "END")


def test_a_stream_that_ends_without_done_is_ended_once() -> None:
    told = events(says("a"), finish("length"), done=False)
    assert [one["type"] for one in told].count("message_stop") == 1
    assert message_of(told)["stop_reason"] == "max_tokens"


def test_nothing_follows_the_end_and_nothing_comes_of_nothing() -> None:
    translator = ChatToMessages("tiny")
    assert translator.feed(DONE) + translator.finish() == b""
    translator.feed(event(says("a")))
    assert translator.feed(DONE)
    assert translator.feed(event(says("b"))) + translator.feed(DONE) + translator.finish() == b""


def test_a_comment_becomes_a_ping() -> None:
    translator = ChatToMessages("tiny")
    assert translator.feed(b": keep-alive\n\n") == b""
    translator.feed(event(role()))
    assert translator.feed(b": keep-alive\n\n") == PING


def test_other_choices_and_foreign_events_are_not_for_the_client() -> None:
    told = events(
        says("a"),
        says("no", index=1),
        {"object": "odd"},
        {"choices": ["?", {"delta": 1}]},
        finish(),
    )
    assert message_of(told)["content"] == [{"type": "text", "text": "a"}]


def test_what_cannot_be_understood_ends_the_answer() -> None:
    with pytest.raises(UpstreamFault):
        translated(b"data: {\n\n")


def test_a_stream_cannot_make_us_hold_more_than_the_limits() -> None:
    many = calls(*(call(index, "{}", name="f") for index in range(CALL_LIMIT + 1)))
    with pytest.raises(UpstreamFault):
        translated(event(many))
    with pytest.raises(UpstreamFault):
        translated(event(calls(call(0, "x" * (NAMELESS_LIMIT_CHARS + 1)))))


@pytest.mark.parametrize(
    ("name", "reason", "input_tokens"),
    [("llamacpp_chat_stop.sse", "end_turn", 21), ("llamacpp_chat_length.sse", "max_tokens", 40)],
)
def test_what_llama_cpp_streamed(name: str, reason: str, input_tokens: int) -> None:
    raw = (RECORDED / name).read_bytes()
    chunks = [json.loads(data_of(piece.raw) or b"") for piece in EventScanner().feed(raw)[:-1]]
    texts = [c["choices"][0]["delta"].get("content") for c in chunks if c["choices"]]
    message = message_of(events_of(translated(raw)))
    assert message["content"] == [{"type": "text", "text": "".join(text or "" for text in texts)}]
    assert message["stop_reason"] == reason
    assert message["usage"]["input_tokens"] == input_tokens
    assert message["usage"]["output_tokens"] == chunks[-1]["usage"]["completion_tokens"]


# -- any stream, cut anywhere

steps = st.one_of(
    st.tuples(st.just("text"), st.text(max_size=6)),
    st.tuples(st.just("call"), st.dictionaries(st.text(max_size=3), st.text('"\\{}é', max_size=4))),
)


@given(st.lists(steps, max_size=5), st.data())
def test_no_text_and_no_call_is_lost_however_the_stream_is_cut(
    said: list[Any], data: st.DataObject
) -> None:
    chunks: list[Any] = [role()]
    expected: list[Any] = []
    position = 0
    for kind, value in said:
        if kind == "text":
            chunks.append(says(value))
            expected.append(value)
            continue
        text = json.dumps(value)
        cut = data.draw(st.integers(0, len(text)))
        chunks.append(calls(call(position, text[:cut], name="f", id=f"c{position}")))
        chunks.append(calls(call(position, text[cut:])))
        expected.append(value)
        position += 1
    stream = wire(*chunks, finish("stop"), usage_alone())
    whole = translated(stream)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    ends = zip([0, *cuts], [*cuts, len(stream)], strict=True)
    assert translated(*(stream[a:b] for a, b in ends)) == whole

    content = message_of(events_of(whole))["content"]
    got: list[Any] = [b["text"] if b["type"] == "text" else b["input"] for b in content]
    assert _joined(got) == _joined(expected)


def _joined(items: list[Any]) -> list[Any]:
    """Neighbouring texts as one, for that is how they are told; empty ones are not told."""
    joined: list[Any] = []
    for item in items:
        if isinstance(item, str) and joined and isinstance(joined[-1], str):
            joined[-1] += item
        elif item != "":
            joined.append(item)
    return joined


deltas = st.dictionaries(
    st.sampled_from(["content", "tool_calls", "refusal", "reasoning"]),
    jsons | st.lists(st.fixed_dictionaries({"index": jsons, "id": jsons, "function": jsons})),
)


@given(st.lists(jsons | deltas.map(chunk) | st.just(finish()), max_size=5))
def test_any_stream_is_a_message_or_the_endpoints_fault(chunks: list[Any]) -> None:
    try:
        stream = translated(wire(*chunks), thinking=True)
    except UpstreamFault:
        return
    told = events_of(stream)
    assert not told or (told[0]["type"], told[-1]["type"]) == ("message_start", "message_stop")
    starts = [one["index"] for one in told if one["type"] == "content_block_start"]
    stops = [one["index"] for one in told if one["type"] == "content_block_stop"]
    assert starts == list(range(len(starts)))
    assert sorted(stops) == starts
