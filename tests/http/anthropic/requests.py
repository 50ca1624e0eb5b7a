"""Requests for messages as they may come, sane and otherwise."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from llmlb.http.anthropic.chat import to_chat
from llmlb.http.anthropic.request import parse_messages

ASKED: dict[str, Any] = {
    "model": "tiny",
    "max_tokens": 16,
    "messages": [{"role": "user", "content": "Hi"}],
}


def body(**fields: Any) -> bytes:
    return json.dumps({**ASKED, **fields}).encode()


def in_chat(sent: bytes) -> bytes:
    """*sent* as a chat completion, with all that was taken out of it back in its place."""
    request = parse_messages(sent)
    return request.holes.fill_whole(to_chat(request).body)


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["user", "assistant", "system", "text", "tool_use", "tool_result", "image"])
    | st.sampled_from(["base64", "url", "custom", "tool", "any", "document", "json_schema"])
)
NAMES = (
    *("type", "role", "content", "text", "source", "data", "media_type", "url", "id", "name"),
    *("input", "tool_use_id", "is_error", "input_schema", "user_id", "format", "schema"),
)
names = st.text(max_size=5) | st.sampled_from(NAMES)
jsons = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5)
)
