"""from_chat: a whole chat completion as a message, and every non-answer found out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.accounting import Usage
from llmlb.http.anthropic.answer import from_chat
from llmlb.http.anthropic.usage import from_messages
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from tests.fakes.openai import completion, counted
from tests.http.anthropic.requests import jsons

RECORDED = Path(__file__).parent / "recorded"


def message(answer: Any, *, thinking: bool = False) -> dict[str, Any]:
    sent, _ = from_chat(
        json.dumps(answer).encode(), "tiny", thinking=thinking, fresh=lambda: "fresh"
    )
    whole: dict[str, Any] = json.loads(sent)
    return whole


def answered(finish: str | None = "stop", *, choice: Any = None, **said: Any) -> dict[str, Any]:
    """A chat completion whose message has these fields."""
    whole = {"message": {"role": "assistant", **said}, "finish_reason": finish, **(choice or {})}
    return {"id": "chatcmpl-7", "choices": [whole], "usage": counted(7, 3)}


def call(arguments: Any, **fields: Any) -> dict[str, Any]:
    function = {"name": "weather", "arguments": arguments}
    return {"id": "call_1", "type": "function", "function": function, **fields}


def test_a_plain_answer() -> None:
    sent, usage = from_chat(json.dumps(completion("Hello.", usage=counted())).encode(), "tiny")
    assert json.loads(sent) == {
        "id": "msg_c-1",
        "type": "message",
        "role": "assistant",
        "model": "tiny",
        "content": [{"type": "text", "text": "Hello."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 7,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 3,
        },
    }
    assert usage == Usage(7, 3, 10)


def test_what_llama_cpp_answered_becomes_what_it_answers_natively() -> None:
    sent, usage = from_chat((RECORDED / "llamacpp_chat.json").read_bytes(), "tiny.gguf")
    ours = json.loads(sent)
    native = json.loads((RECORDED / "llamacpp_messages.json").read_bytes())
    assert set(native) == set(ours)
    assert set(native["usage"]) <= set(ours["usage"])
    assert [block["type"] for block in ours["content"]] == ["text"]
    assert from_messages(ours["usage"]).input_tokens == usage.input_tokens


def test_tools_are_called_with_parsed_arguments() -> None:
    whole = message(
        answered(
            "tool_calls",
            content="Let me see.",
            tool_calls=[call('{"city": "Oslo"}'), call('{"city": "Rome"}', id="call_2")],
        )
    )
    assert whole["stop_reason"] == "tool_use"
    assert whole["content"] == [
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Oslo"}},
        {"type": "tool_use", "id": "call_2", "name": "weather", "input": {"city": "Rome"}},
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {}),
        (None, {}),
        ({"city": "Oslo"}, {"city": "Oslo"}),
        ('{"city": "Os', {"INVALID_JSON": '{"city": "Os'}),
        ("[1]", {"INVALID_JSON": "[1]"}),
        ("[" * 5000, {"INVALID_JSON": "[" * 5000}),
        ([1], {"INVALID_JSON": [1]}),
        ('{"a": NaN}', {"INVALID_JSON": '{"a": NaN}'}),
        ('{"a": 1e999}', {"INVALID_JSON": '{"a": 1e999}'}),
        ({"a": float("inf")}, {"INVALID_JSON": '{"a": Infinity}'}),
    ],
)
def test_arguments_are_an_object_whatever_they_were(arguments: Any, expected: Any) -> None:
    whole = message(answered("tool_calls", content=None, tool_calls=[call(arguments)]))
    assert whole["content"][0]["input"] == expected


@pytest.mark.parametrize("depth", range(900, 1000, 3))
def test_arguments_of_any_depth_do_no_harm(depth: int) -> None:
    arguments = '{"a":' * depth + "1" + "}" * depth
    whole = answered("tool_calls", content=None, tool_calls=[call(arguments)])
    told, _ = from_chat(json.dumps(whole).encode(), "tiny")
    assert b"INVALID_JSON" in told or told.count(b'{"a":') == depth


def test_a_call_without_an_id_gets_one() -> None:
    whole = message(answered("tool_calls", tool_calls=[call("{}", id=None), "?", {}]))
    assert [(block["id"], block["name"]) for block in whole["content"]] == [
        ("toolu_fresh", "weather"),
        ("toolu_fresh", ""),
    ]


@pytest.mark.parametrize(
    ("finish", "said", "choice", "reason", "sequence"),
    [
        ("stop", {"content": "a"}, {}, "end_turn", None),
        ("length", {"content": "a"}, {}, "max_tokens", None),
        ("content_filter", {"content": "a"}, {}, "refusal", None),
        ("stop", {"refusal": "No."}, {}, "refusal", None),
        ("whatever", {"content": "a"}, {}, "end_turn", None),
        (None, {"content": "a"}, {}, "end_turn", None),
        ("stop", {"content": "a"}, {"stop_reason": "END"}, "stop_sequence", "END"),
        ("stop", {"content": "a"}, {"matched_stop": "END"}, "stop_sequence", "END"),
        ("stop", {"content": "a"}, {"stop_reason": 128009}, "end_turn", None),
        ("length", {"content": "a"}, {"stop_reason": "END"}, "max_tokens", None),
        ("stop", {"tool_calls": [call("{}")]}, {}, "tool_use", None),
        ("tool_calls", {"content": "a", "tool_calls": []}, {}, "end_turn", None),
        ("length", {"tool_calls": [call("{")]}, {}, "max_tokens", None),
    ],
)
def test_why_it_stopped(finish: Any, said: Any, choice: Any, reason: str, sequence: Any) -> None:
    whole = message(answered(finish, choice=choice, **said))
    assert (whole["stop_reason"], whole["stop_sequence"]) == (reason, sequence)


def test_reasoning_is_passed_on_to_those_who_ask_for_it() -> None:
    answer = answered(content="Yes.", reasoning_content="hm")
    assert [block["type"] for block in message(answer)["content"]] == ["text"]
    assert message(answer, thinking=True)["content"][0] == {
        "type": "thinking",
        "thinking": "hm",
        "signature": "",
    }


def test_content_in_parts_is_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, "?", {"text": 1}]
    assert message(answered(content=parts))["content"] == [{"type": "text", "text": "ab"}]
    assert message(answered(content=None))["content"] == []


def test_an_answer_without_an_id_gets_one() -> None:
    assert message({**answered(content="a"), "id": None})["id"] == "msg_fresh"


def test_cached_tokens_are_counted_beside_the_others() -> None:
    answer = answered(content="a")
    answer["usage"]["prompt_tokens_details"] = {"cached_tokens": 5}
    assert message(answer)["usage"] == {
        "input_tokens": 2,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 5,
        "output_tokens": 3,
    }
    answer["usage"]["prompt_tokens_details"] = {"cached_tokens": 500}
    assert message(answer)["usage"]["input_tokens"] == 0
    del answer["usage"]
    assert message(answer)["usage"]["output_tokens"] == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"error": {"message": "no"}}',
        b'{"choices": []}',
        b'{"choices": [1]}',
        b'{"choices": [{"text": "a"}]}',
    ],
)
def test_what_is_no_answer_is_the_endpoints_fault(body: bytes) -> None:
    with pytest.raises(UpstreamFault) as caught:
        from_chat(body, "tiny")
    assert caught.value.kind is FaultKind.BAD_ANSWER


said_fields = st.dictionaries(
    st.sampled_from(["content", "refusal", "reasoning", "tool_calls", "reasoning_content"]), jsons
)


@given(
    jsons
    | st.builds(lambda choices, usage: {"choices": choices, "usage": usage}, jsons, jsons)
    | st.builds(
        lambda said, finish: {"choices": [{"message": said, "finish_reason": finish}]},
        said_fields,
        jsons,
    )
)
def test_any_json_is_an_answer_or_the_endpoints_fault(answer: Any) -> None:
    try:
        sent, _ = from_chat(json.dumps(answer).encode(), "tiny", thinking=True)
    except UpstreamFault:
        return
    assert json.loads(sent)["type"] == "message"
