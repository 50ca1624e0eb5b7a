"""The official client reads what we write, and what it writes is translated."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types import TextBlock, ToolUseBlock

from llmlb.errors import (
    InvalidRequest,
    LbError,
    ModelNotFound,
    NoCapableEndpoints,
    QueueFull,
    UpstreamError,
)
from llmlb.http.anthropic.answer import from_chat
from llmlb.http.anthropic.chat import to_chat
from llmlb.http.anthropic.errors import error_body, error_event
from llmlb.http.anthropic.request import MessagesRequest, parse_messages
from llmlb.http.anthropic.stream import ChatToMessages
from llmlb.http.sse import EventScanner
from tests.fakes.openai import chunk, completion, counted, finish, role, says, usage_alone, wire

WEATHER: Any = {
    "name": "weather",
    "description": "Of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
ASKED: Any = {
    "model": "tiny",
    "max_tokens": 16,
    "messages": [{"role": "user", "content": "Hi"}],
}

Answer = Callable[[MessagesRequest], httpx2.Response]


def client(answer: Answer) -> anthropic.Anthropic:
    """The official client, whose every request is parsed and then answered by *answer*."""

    def handle(sent: httpx2.Request) -> httpx2.Response:
        assert sent.url.path == "/v1/messages"
        return answer(parse_messages(sent.read()))

    return anthropic.Anthropic(
        api_key="k",
        base_url="http://llmlb",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(handle)),
    )


def endpoint(plain: Any, stream: bytes = b"") -> tuple[anthropic.Anthropic, list[dict[str, Any]]]:
    """A client of an endpoint that only knows chat, and the chat requests that came to it."""
    asked: list[dict[str, Any]] = []

    def answer(request: MessagesRequest) -> httpx2.Response:
        asked.append(json.loads(to_chat(request).body))
        if not request.stream:
            body, _ = from_chat(json.dumps(plain).encode(), request.model)
            return httpx2.Response(200, content=body, headers={"content-type": "application/json"})
        translator = ChatToMessages(request.model, thinking=request.wants_thinking)
        told = [translator.feed(piece.raw) for piece in EventScanner().feed(stream)]
        return _stream(b"".join([*told, translator.finish()]))

    return client(answer), asked


def _stream(body: bytes) -> httpx2.Response:
    return httpx2.Response(200, content=body, headers={"content-type": "text/event-stream"})


def test_a_plain_answer() -> None:
    ask, asked = endpoint(completion("Hello.", usage=counted(7, 3)))
    with ask:
        message = ask.messages.create(**ASKED, system="Be brief.")
    assert message.content == [TextBlock(type="text", text="Hello.")]
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 3)
    assert [turn["role"] for turn in asked[0]["messages"]] == ["system", "user"]


def test_a_streamed_answer() -> None:
    stream = wire(role(), says("Hel"), says("lo."), finish("length"), usage_alone(7, 3))
    ask, asked = endpoint(None, stream)
    with ask, ask.messages.stream(**ASKED) as told:
        assert list(told.text_stream) == ["Hel", "lo."]
        message = told.get_final_message()
    assert told.get_final_text() == "Hello."
    assert message.stop_reason == "max_tokens"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 3)
    assert asked[0]["stream_options"] == {"include_usage": True}


def _calls(*pieces: tuple[int, dict[str, Any]]) -> Any:
    return chunk({"tool_calls": [{"index": index, **fields} for index, fields in pieces]})


def _begin(name: str, call_id: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}


def _more(arguments: str) -> dict[str, Any]:
    return {"function": {"arguments": arguments}}


def test_streamed_tools_and_the_turn_that_answers_them() -> None:
    stream = wire(
        role(),
        says("Let me see."),
        _calls((0, _begin("weather", "c1"))),
        _calls((0, _more('{"city": "O'))),
        _calls((0, _more('slo"}'))),
        _calls((1, _begin("weather", "c2"))),
        _calls((1, _more('{"city": "Rome"}'))),
        finish("tool_calls"),
        usage_alone(),
    )
    ask, asked = endpoint(completion("Rain."), stream)
    with ask:
        with ask.messages.stream(**ASKED, tools=[WEATHER], tool_choice={"type": "any"}) as told:
            first = told.get_final_message()
        uses = [block for block in first.content if isinstance(block, ToolUseBlock)]
        assert first.stop_reason == "tool_use"
        assert [(use.id, use.name, use.input) for use in uses] == [
            ("c1", "weather", {"city": "Oslo"}),
            ("c2", "weather", {"city": "Rome"}),
        ]
        results: Any = [
            {"type": "tool_result", "tool_use_id": use.id, "content": f"Rain {use.id}"}
            for use in uses
        ]
        turns: Any = [
            *ASKED["messages"],
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": [*results, {"type": "text", "text": "So?"}]},
        ]
        second = ask.messages.create(**{**ASKED, "messages": turns}, tools=[WEATHER])
    assert second.content == [TextBlock(type="text", text="Rain.")]
    assert asked[0]["tool_choice"] == "required"
    _, assistant, *rest = asked[1]["messages"]
    assert assistant["content"] == "Let me see."
    assert [json.loads(c["function"]["arguments"]) for c in assistant["tool_calls"]] == [
        {"city": "Oslo"},
        {"city": "Rome"},
    ]
    assert rest == [
        {"role": "tool", "tool_call_id": "c1", "content": "Rain c1"},
        {"role": "tool", "tool_call_id": "c2", "content": "Rain c2"},
        {"role": "user", "content": "So?"},
    ]


def test_streamed_thinking() -> None:
    stream = wire(chunk({"reasoning_content": "hm"}), says("Yes."), finish())
    ask, _ = endpoint(None, stream)
    wish: Any = {"type": "enabled", "budget_tokens": 1024}
    with ask, ask.messages.stream(**{**ASKED, "max_tokens": 2048}, thinking=wish) as told:
        content = told.get_final_message().content
    assert [block.type for block in content] == ["thinking", "text"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (InvalidRequest("x"), anthropic.BadRequestError),
        (ModelNotFound("x"), anthropic.NotFoundError),
        (QueueFull("x"), anthropic.RateLimitError),
        (UpstreamError("x"), anthropic.InternalServerError),
        (NoCapableEndpoints("x"), anthropic.InternalServerError),
    ],
)
def test_an_error_raises_the_class_that_clients_expect(
    error: LbError, raised: type[anthropic.APIStatusError]
) -> None:
    def answer(_: MessagesRequest) -> httpx2.Response:
        return httpx2.Response(
            error.http_status(),
            content=error_body(error, "req-1"),
            headers={"content-type": "application/json"},
        )

    with client(answer) as ask, pytest.raises(raised) as caught:
        ask.messages.create(**ASKED)
    assert error.message in str(caught.value)


def test_an_error_inside_a_stream_raises_too() -> None:
    begun = ChatToMessages("tiny").feed(wire(says("Hel"), done=False))

    def answer(_: MessagesRequest) -> httpx2.Response:
        return _stream(begun + error_event(UpstreamError("It broke.")))

    with client(answer) as ask, ask.messages.stream(**ASKED) as told:
        with pytest.raises(anthropic.APIStatusError) as caught:
            told.get_final_message()
        assert told.current_message_snapshot.content[0].to_dict()["text"] == "Hel"
    assert "It broke." in str(caught.value)
