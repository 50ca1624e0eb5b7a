"""Requests and answers in the OpenAI dialect, as short to write as they are to read."""

from __future__ import annotations

import json
from typing import Any

Chunk = dict[str, Any]


def chat(model: str = "tiny", *, stream: bool | None = None, **fields: Any) -> bytes:
    """The body of one chat request."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    if stream is not None:
        body["stream"] = stream
    return json.dumps({**body, **fields}).encode()


def completion(text: str = "Hello.", *, usage: Any = None, **fields: Any) -> dict[str, Any]:
    """A plain answer to a chat request."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
    }
    whole = {"id": "c-1", "object": "chat.completion", "choices": [choice], **fields}
    if usage is not None:
        whole["usage"] = usage
    return whole


def chunk(delta: Any = None, *, index: int = 0, finish: str | None = None, **fields: Any) -> Chunk:
    """One chunk of a stream, with one choice."""
    choice = {"index": index, "delta": {} if delta is None else delta, "finish_reason": finish}
    return {"id": "c-1", "object": "chat.completion.chunk", "choices": [choice], **fields}


def role() -> Chunk:
    """How most engines begin: with a role, and nothing said."""
    return chunk({"role": "assistant", "content": ""})


def says(text: str, *, index: int = 0) -> Chunk:
    return chunk({"content": text}, index=index)


def finish(reason: str = "stop", *, index: int = 0) -> Chunk:
    return chunk(finish=reason, index=index)


def counted(prompt: int = 7, completion: int = 3) -> dict[str, int]:
    """A `usage` object."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def usage_alone(prompt: int = 7, completion: int = 3) -> Chunk:
    """The chunk that only tells the usage, after all choices have finished."""
    return {
        "id": "c-1",
        "object": "chat.completion.chunk",
        "choices": [],
        "usage": counted(prompt, completion),
    }


def event(value: object) -> bytes:
    """*value* as one server-sent event."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def typed_event(kind: str, **fields: Any) -> bytes:
    """One event of the kinds that have a type, as Responses, media and Messages have."""
    data = json.dumps({"type": kind, **fields}).encode()
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


DONE = b"data: [DONE]\n\n"


def wire(*chunks: object, done: bool = True) -> bytes:
    """The bytes of a stream of these chunks (bytes are taken as they are)."""
    events = [c if isinstance(c, bytes) else event(c) for c in chunks]
    return b"".join([*events, DONE] if done else events)
