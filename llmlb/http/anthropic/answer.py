"""What a whole chat completion is as a message."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from llmlb.accounting import Usage
from llmlb.http.anthropic.usage import in_messages
from llmlb.http.openai.answer import read_answer
from llmlb.http.upstream.faults import FaultKind, UpstreamFault

_STOP_REASONS = {
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
"""All others are `end_turn`."""

Json = dict[str, Any]


def fresh_id() -> str:
    """An id for what an endpoint left without one."""
    return uuid4().hex


def from_chat(
    body: bytes, model: str, *, thinking: bool = False, fresh: Callable[[], str] = fresh_id
) -> tuple[bytes, Usage]:
    """The message that the chat completion *body* is, and what it cost.

    *model* is the name that the client used; *thinking* passes a model's reasoning on as a
    thinking block. Raises UpstreamFault if the body is no answer.
    """
    usage = read_answer("choices", body)
    answer = json.loads(body)
    choice = answer["choices"][0]
    said = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(said, dict):
        raise UpstreamFault(FaultKind.BAD_ANSWER, "The endpoint's answer has no message.")
    content = _content(said, thinking=thinking, fresh=fresh)
    reason, sequence = stop_of(
        choice,
        calls=any(block["type"] == "tool_use" for block in content),
        refused=bool(said.get("refusal")),
    )
    message = {
        "id": message_id(answer.get("id"), fresh),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": in_messages(answer.get("usage")),
    }
    return json.dumps(message, separators=(",", ":")).encode(), usage


def message_id(said: object, fresh: Callable[[], str]) -> str:
    """An id of Anthropic's form, from the endpoint's own where it gave one."""
    own = said.removeprefix("chatcmpl-") if isinstance(said, str) else ""
    return f"msg_{own[:200] or fresh()}"


def stop_of(choice: Json, *, calls: bool, refused: bool) -> tuple[str, str | None]:
    """Why a choice ended, and the stop sequence if it says which (vLLM, SGLang).

    Tools are only called where there are *calls*: a client would wait for one that some
    engines announce and never make, and miss one that they make and call `stop`.
    """
    finish = choice.get("finish_reason")
    reason = _STOP_REASONS.get(finish, "end_turn") if isinstance(finish, str) else "end_turn"
    if refused:
        return "refusal", None
    if calls and reason == "end_turn":
        return "tool_use", None
    if not calls and reason == "tool_use":
        return "end_turn", None
    sequence = choice.get("stop_reason") or choice.get("matched_stop")
    if finish == "stop" and isinstance(sequence, str):
        return "stop_sequence", sequence
    return reason, None


def text_of(content: object) -> str:
    """The text of a `content`, which some engines send in parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def reasoning_of(said: Json) -> str:
    """What a model thought, under either of its names."""
    return text_of(said.get("reasoning_content")) or text_of(said.get("reasoning"))


def calls_of(said: Json) -> list[Json]:
    """The tool calls of a message or a delta, or pieces of them."""
    calls = said.get("tool_calls")
    return [c for c in calls if isinstance(c, dict)] if isinstance(calls, list) else []


def _content(said: Json, *, thinking: bool, fresh: Callable[[], str]) -> list[Json]:
    blocks: list[Json] = []
    if thinking and (thought := reasoning_of(said)):
        # Only Anthropic can sign; our own way back leaves thinking blocks out.
        blocks.append({"type": "thinking", "thinking": thought, "signature": ""})
    texts = (text_of(said.get(name)) for name in ("content", "refusal"))
    blocks += [{"type": "text", "text": text} for text in texts if text]
    blocks += [_tool_use(call, fresh) for call in calls_of(said)]
    return blocks


def _tool_use(call: Json, fresh: Callable[[], str]) -> Json:
    function = call.get("function")
    named: Json = function if isinstance(function, dict) else {}
    own_id, name = call.get("id"), named.get("name")
    return {
        "type": "tool_use",
        "id": own_id if isinstance(own_id, str) and own_id else f"toolu_{fresh()}",
        "name": name if isinstance(name, str) else "",
        "input": _input(named.get("arguments")),
    }


def _input(arguments: object) -> Json:
    """The arguments as an object; what is none is kept under the name that Anthropic advises."""
    if isinstance(arguments, dict) and _is_json(arguments):
        return arguments
    if arguments is None or arguments == "":
        return {}
    if isinstance(arguments, str):
        try:
            parsed = json.loads(arguments)
        except (ValueError, RecursionError):
            parsed = None
        if isinstance(parsed, dict) and _is_json(parsed):
            return parsed
    return {"INVALID_JSON": arguments if _is_json(arguments) else _as_text(arguments)}


def _is_json(value: object) -> bool:
    """Whether *value* can be told: Python reads NaN and 1e999, for which JSON has no words."""
    try:
        json.dumps([[[[value]]]], allow_nan=False)  # as deep as it will stand in the message
    except (ValueError, RecursionError):
        return False
    return True


def _as_text(value: object) -> str:
    try:
        return json.dumps(value)
    except RecursionError:
        return ""
