"""to_chat: every turn, tool and wish in the words of chat completions, nothing lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.errors import InvalidRequest, MissingField
from llmlb.http.anthropic.chat import ChatBody, to_chat
from llmlb.http.anthropic.request import parse_messages
from tests.http.anthropic.requests import body

PIXEL = {"type": "base64", "media_type": "image/png", "data": "iVBORw0="}
WEATHER = {
    "name": "weather",
    "description": "Of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Oslo"]}, "at": {"$ref": "#/$defs/t"}},
        "required": ["city"],
        "additionalProperties": False,
        "$defs": {"t": {"type": "string"}},
    },
}


def translated(**fields: Any) -> ChatBody:
    return to_chat(parse_messages(body(**fields)))


def chat(**fields: Any) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(translated(**fields).body)
    return whole


def said(*messages: Any, **fields: Any) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = chat(messages=list(messages), **fields)["messages"]
    return turns


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def test_arguments_that_json_cannot_tell_are_refused() -> None:
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {"n": 12345}}
    sent = body(messages=[assistant(call)]).replace(b"12345", b"1e999")
    with pytest.raises(InvalidRequest, match="too large") as caught:
        to_chat(parse_messages(sent))
    assert caught.value.param == "messages.0.content.0.input"


def test_the_simplest_request() -> None:
    assert chat() == {
        "model": "tiny",
        "max_tokens": 16,
        "messages": [{"role": "user", "content": "Hi"}],
    }


def test_options_get_the_names_that_chat_has_for_them() -> None:
    whole = chat(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop_sequences=["END"],
        metadata={"user_id": "u-1"},
        stream=True,
        service_tier="auto",
        mystery=1,
    )
    del whole["messages"]
    assert whole == {
        "model": "tiny",
        "max_tokens": 16,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "stop": ["END"],
        "user": "u-1",
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_absent_and_empty_options_are_left_out() -> None:
    whole = chat(
        stop_sequences=[],
        metadata={},
        tools=[],
        tool_choice={"type": "auto"},
        temperature=None,
        system=None,
        stream=False,
        output_config={},
    )
    assert set(whole) == {"model", "max_tokens", "messages"}


@pytest.mark.parametrize(
    ("system", "expected"),
    [("Be brief.", "Be brief."), ([text("Be"), text("brief.")], "Be\nbrief.")],
)
def test_a_system_prompt_comes_first(system: Any, expected: str) -> None:
    assert chat(system=system)["messages"] == [
        {"role": "system", "content": expected},
        {"role": "user", "content": "Hi"},
    ]


def test_a_system_turn_keeps_its_place() -> None:
    turns = said(user(text("a")), {"role": "system", "content": [text("b")]}, assistant(text("c")))
    assert [(turn["role"], turn["content"]) for turn in turns] == [
        ("user", "a"),
        ("system", "b"),
        ("assistant", "c"),
    ]


def test_a_system_prompt_is_text_only() -> None:
    with pytest.raises(InvalidRequest) as caught:
        chat(system=[{"type": "image", "source": PIXEL}])
    assert caught.value.param == "system.0.type"


def test_text_and_images_keep_their_order() -> None:
    turns = said(
        user(
            text("Compare"),
            {"type": "image", "source": PIXEL},
            text("with"),
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        )
    )
    assert turns[0]["content"] == [
        {"type": "text", "text": "Compare"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0="}},
        {"type": "text", "text": "with"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]


def test_a_tool_is_called_and_its_result_is_given_back() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Oslo", "n": [1]}}
    turns = said(
        {"role": "user", "content": "Weather?"},
        assistant(text("Let me see."), call),
        user({"type": "tool_result", "tool_use_id": "t1", "content": "Rain"}, text("And now?")),
        tools=[WEATHER],
    )
    assert turns == [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {
                    "id": "t1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Oslo","n":[1]}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "Rain"},
        {"role": "user", "content": "And now?"},
    ]


def test_calls_without_text_have_no_content() -> None:
    turns = said(assistant({"type": "tool_use", "id": "t", "name": "f", "input": {}}))
    assert turns[0]["content"] is None


def test_several_results_come_before_the_rest_of_the_turn() -> None:
    results: list[Any] = [
        {"type": "tool_result", "tool_use_id": "a", "content": [text("1"), text("2")]},
        {"type": "tool_result", "tool_use_id": "b", "is_error": True, "content": "no such file"},
        {"type": "tool_result", "tool_use_id": "c"},
    ]
    turns = said(user(results[0], text("x"), results[1], results[2], text("y")))
    assert turns == [
        {"role": "tool", "tool_call_id": "a", "content": "1\n2"},
        {"role": "tool", "tool_call_id": "b", "content": "Error: no such file"},
        {"role": "tool", "tool_call_id": "c", "content": ""},
        {"role": "user", "content": [text("x"), text("y")]},
    ]


def test_images_of_a_result_move_to_the_users_turn_and_say_whose_they_are() -> None:
    shot = {"type": "image", "source": PIXEL}
    whole = translated(
        messages=[
            user(
                {"type": "tool_result", "tool_use_id": "t1", "content": [text("Done"), shot]},
                text("What is it?"),
            )
        ]
    )
    assert whole.notes == ("images of tool results were put into the user's turn",)
    tool, rest = json.loads(whole.body)["messages"]
    assert tool["content"] == "Done\n[image 1 of tool result t1, shown below]"
    assert rest["content"] == [
        text("Images of tool result t1:"),
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0="}},
        text("What is it?"),
    ]


def test_thinking_is_left_out_with_a_note() -> None:
    whole = translated(
        thinking={"type": "enabled", "budget_tokens": 2000},
        output_config={"effort": "high"},
        messages=[
            user(text("Hi")),
            assistant(
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "redacted_thinking", "data": "x"},
                text("Yes."),
            ),
            user(text("Go on")),
        ],
    )
    assert whole.notes == (
        "thinking blocks were left out",
        "the thinking budget was left out",
        "the effort was left out",
    )
    turns = json.loads(whole.body)["messages"]
    assert [turn["content"] for turn in turns] == ["Hi", "Yes.", "Go on"]
    assert b"hm" not in whole.body


def test_thinking_in_the_turn_of_a_user_is_left_out_with_the_same_note() -> None:
    odd = user({"type": "thinking", "thinking": "odd", "signature": ""}, text("Go on"))
    whole = translated(messages=[odd])
    assert whole.notes == ("thinking blocks were left out",)
    assert json.loads(whole.body)["messages"] == [{"role": "user", "content": "Go on"}]


def test_servers_of_tools_that_nobody_would_call_are_left_out_with_a_note() -> None:
    whole = translated(mcp_servers=[{"type": "url", "url": "https://example.com", "name": "x"}])
    assert whole.notes == ("the MCP servers were left out",)
    assert b"example.com" not in whole.body
    assert translated(mcp_servers=[]).notes == ()


def test_a_turn_of_thinking_alone_stays_as_an_empty_one() -> None:
    turns = said(assistant({"type": "thinking", "thinking": "hm", "signature": ""}), user())
    assert turns == [{"role": "assistant", "content": ""}, {"role": "user", "content": ""}]


def test_documents_and_search_results_of_text_are_text() -> None:
    plain = {"type": "text", "media_type": "text/plain", "data": "Once"}
    turns = said(
        user(
            {"type": "document", "source": plain, "title": "Tale", "context": "old"},
            {"type": "document", "source": {"type": "content", "content": [text("upon")]}},
            {"type": "document", "source": {"type": "content", "content": "a time"}},
            {
                "type": "search_result",
                "title": "T",
                "source": "https://x",
                "content": [text("found")],
            },
        )
    )
    assert [part["text"] for part in turns[0]["content"]] == [
        "Tale\nold\nOnce",
        "upon",
        "a time",
        "T\nhttps://x\nfound",
    ]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (user({"type": "hologram"}), "messages.0.content.0.type"),
        (user({"type": "text"}), "messages.0.content.0.text"),
        (user(text("a"), {"type": "image"}), "messages.0.content.1.source"),
        (
            user({"type": "image", "source": {"type": "file", "file_id": "f"}}),
            "messages.0.content.0.source.type",
        ),
        (
            user({"type": "image", "source": {"type": "base64", "media_type": "image/png"}}),
            "messages.0.content.0.source.data",
        ),
        (
            user({"type": "document", "source": {"type": "base64", "data": "JVBERi0="}}),
            "messages.0.content.0.source.type",
        ),
        (user({"type": "tool_use", "id": "t"}), "messages.0.content.0.type"),
        (user({"type": "tool_result"}), "messages.0.content.0.tool_use_id"),
        (
            user({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "x"}]}),
            "messages.0.content.0.content.0.type",
        ),
        (
            user({"type": "search_result", "title": "", "source": "", "content": "x"}),
            "messages.0.content.0.content",
        ),
        (assistant({"type": "server_tool_use", "id": "s"}), "messages.0.content.0.type"),
        (assistant({"type": "tool_use", "name": "f", "input": {}}), "messages.0.content.0.id"),
        (assistant({"type": "tool_use", "id": "t", "input": {}}), "messages.0.content.0.name"),
        (
            assistant({"type": "tool_use", "id": "t", "name": "f", "input": "{}"}),
            "messages.0.content.0.input",
        ),
    ],
)
def test_what_cannot_be_translated_is_refused_by_its_place(message: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        said(message)
    assert caught.value.param == param


# -- tools


def test_a_tool_keeps_its_whole_schema() -> None:
    tools = chat(
        tools=[WEATHER, {"name": "f", "input_schema": {}, "type": "custom", "strict": True}]
    )["tools"]
    assert tools == [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "Of a city",
                "parameters": WEATHER["input_schema"],
            },
        },
        {"type": "function", "function": {"name": "f", "parameters": {}, "strict": True}},
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        (
            {"type": "tool", "name": "weather"},
            {"type": "function", "function": {"name": "weather"}},
        ),
    ],
)
def test_a_choice_of_tools(choice: Any, expected: Any) -> None:
    whole = chat(tools=[WEATHER], tool_choice=choice)
    assert whole["tool_choice"] == expected
    assert "parallel_tool_calls" not in whole


def test_one_tool_at_a_time() -> None:
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    assert chat(tools=[WEATHER], tool_choice=choice)["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0.type"),
        ({"tools": [{"input_schema": {}}]}, "tools.0.name"),
        ({"tools": [{"name": "f"}]}, "tools.0.input_schema"),
        ({"tool_choice": {"type": "any"}}, "tool_choice.type"),
        ({"tools": [WEATHER], "tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "x"}}, "tool_choice.name"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
    ],
)
def test_tools_that_no_endpoint_can_serve_are_refused(fields: Any, param: str) -> None:
    with pytest.raises((InvalidRequest, MissingField)) as caught:
        chat(**fields)
    assert caught.value.param == param


def test_a_wish_for_json_of_a_schema_is_kept() -> None:
    wish = {"type": "json_schema", "schema": {"type": "object"}}
    assert chat(output_config={"format": wish})["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
    }
    with pytest.raises(InvalidRequest):
        chat(output_config={"format": {"type": "xml"}})


def test_an_infinite_number_is_refused() -> None:
    sent = body(temperature=7).replace(b"7", b"1e999")
    with pytest.raises(InvalidRequest):
        to_chat(parse_messages(sent))


# -- nothing is lost, and order is kept

words = st.text("abc ", min_size=1, max_size=4)
said_blocks = st.tuples(st.just("text"), words)
calls = st.tuples(st.just("tool_use"), st.dictionaries(words, words, max_size=2))
results = st.tuples(st.just("tool_result"), words)
turn = st.tuples(st.just("user"), st.lists(said_blocks | results, min_size=1, max_size=4)) | (
    st.tuples(st.just("assistant"), st.lists(said_blocks | calls, min_size=1, max_size=4))
)


def _block(number: int, kind: str, value: Any) -> dict[str, Any]:
    if kind == "text":
        return text(f"<{number}:{value}>")
    if kind == "tool_use":
        return {"type": kind, "id": f"id{number}", "name": f"f{number}", "input": value}
    return {"type": kind, "tool_use_id": f"id{number}", "content": f"<{number}:{value}>"}


def _texts(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part["text"] for part in content)
    return content or ""


@given(st.lists(turn, min_size=1, max_size=4))
def test_no_text_call_or_result_is_lost_and_each_kind_keeps_its_order(turns: list[Any]) -> None:
    number = 0
    messages, texts, made, given_back = [], [], [], []
    for role, blocks in turns:
        content = []
        for kind, value in blocks:
            block = _block(number, kind, value)
            content.append(block)
            number += 1
            if kind == "text":
                texts.append(block["text"])
            elif kind == "tool_use":
                made.append((block["id"], block["name"], value))
            else:
                given_back.append((block["tool_use_id"], block["content"]))
        messages.append({"role": role, "content": content})
    back = said(*messages)
    prose = "".join(_texts(m["content"]) for m in back if m["role"] != "tool").replace("\n", "")
    assert prose == "".join(texts)
    assert [
        (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
        for m in back
        for call in m.get("tool_calls", ())
    ] == made
    assert [(m["tool_call_id"], m["content"]) for m in back if m["role"] == "tool"] == given_back
