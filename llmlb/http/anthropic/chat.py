"""What a request for a message is in the words of chat completions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from llmlb.errors import InvalidRequest
from llmlb.http.anthropic.reading import Reader
from llmlb.http.anthropic.request import MessagesRequest
from llmlb.http.anthropic.turns import Notes, text_of_blocks, turns

_SAME = ("model", "max_tokens", "temperature", "top_p", "top_k")
"""These mean the same in both; `top_k` is no word of OpenAI's, but the engines know it."""


@dataclass(frozen=True, slots=True)
class ChatBody:
    """The translated request."""

    body: bytes
    """With marks in the place of what `MessagesRequest.holes` has taken out."""
    notes: tuple[str, ...]
    """What was left out, each in a few ASCII words, fit for a header."""


def to_chat(request: MessagesRequest) -> ChatBody:
    """The body of `POST /v1/chat/completions` that asks for the same.

    Raises MissingField, InvalidRequest where chat completions have no words for it.
    """
    reader, notes = Reader(request.fields), Notes()
    chat: dict[str, Any] = {
        name: request.fields[name] for name in _SAME if request.fields.get(name) is not None
    }
    chat["messages"] = [*_system(reader), *turns(reader.objects("messages"), notes)]
    if stop := request.fields.get("stop_sequences"):
        chat["stop"] = stop
    if request.stream:
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    metadata = reader.inner("metadata")
    if metadata and (user := metadata.optional("user_id", str)):
        chat["user"] = user
    if request.wants_thinking:
        notes.add("the thinking budget was left out")
    if request.fields.get("mcp_servers"):
        notes.add("the MCP servers were left out")
    chat |= _output(reader, notes)
    chat |= _tools(reader)
    return ChatBody(_as_json(chat), tuple(notes.texts))


def _as_json(chat: dict[str, Any]) -> bytes:
    try:
        return json.dumps(chat, separators=(",", ":"), allow_nan=False).encode()
    except ValueError:  # 1e999 is valid JSON, and infinite in here
        raise InvalidRequest("A number in the request is too large.") from None


def _system(request: Reader) -> list[dict[str, Any]]:
    if request.fields.get("system") is None:
        return []
    said = request.text_or_blocks("system")
    return [{"role": "system", "content": said if isinstance(said, str) else text_of_blocks(said)}]


def _output(request: Reader, notes: Notes) -> dict[str, Any]:
    """The wish for JSON of a given schema."""
    output = request.inner("output_config")
    if output is None:
        return {}
    if output.fields.get("effort") is not None:
        notes.add("the effort was left out")
    wished = output.inner("format")
    if wished is None:
        return {}
    if wished.required("type", str) != "json_schema":
        raise wished.fault("type", "must be 'json_schema'")
    schema = {"name": "answer", "schema": wished.required("schema", dict), "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _tools(request: Reader) -> dict[str, Any]:
    tools = [_tool(tool) for tool in request.objects("tools")]
    choice = request.inner("tool_choice")
    named = {tool["function"]["name"] for tool in tools}
    chosen = _choice(choice, named) if choice else None
    if not tools:
        return {}  # OpenAI's own service refuses an empty list, and a choice among none
    chat: dict[str, Any] = {"tools": tools}
    if chosen is not None:
        chat["tool_choice"] = chosen
    if choice and choice.optional("disable_parallel_tool_use", bool):
        chat["parallel_tool_calls"] = False
    return chat


def _tool(tool: Reader) -> dict[str, Any]:
    kind = tool.optional("type", str)
    if kind not in (None, "custom"):
        raise tool.fault("type", f"is {kind[:60]!r}, which no endpoint of this model can run")
    function: dict[str, Any] = {"name": tool.required("name", str)}
    if (description := tool.optional("description", str)) is not None:
        function["description"] = description
    function["parameters"] = tool.required("input_schema", dict)
    if (strict := tool.optional("strict", bool)) is not None:
        function["strict"] = strict
    return {"type": "function", "function": function}


def _choice(choice: Reader, named: set[str]) -> Any:  # noqa: ANN401 - a string or an object
    match choice.required("type", str):
        case "auto" | "none" as same:
            return same
        case "any":
            if not named:
                raise choice.fault("type", "is 'any', but there are no tools")
            return "required"
        case "tool":
            name = choice.required("name", str)
            if name not in named:
                raise choice.fault("name", "is not among the tools")
            return {"type": "function", "function": {"name": name}}
        case _:
            raise choice.fault("type", "must be 'auto', 'any', 'tool' or 'none'")
