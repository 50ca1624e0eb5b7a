"""How the tokens of a request are counted in either dialect."""

from __future__ import annotations

from typing import Any

from llmlb.accounting import Usage
from llmlb.http.openai.answer import token_count

_PARTS_OF_INPUT = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
)


def in_messages(usage: Any) -> dict[str, int]:  # noqa: ANN401 - foreign JSON
    """An OpenAI `usage` object as Anthropic's; what is not a count is 0.

    OpenAI counts cached tokens among the prompt's, Anthropic beside them.
    """
    said = usage if isinstance(usage, dict) else {}
    details = said.get("prompt_tokens_details")
    cached = token_count(details.get("cached_tokens")) if isinstance(details, dict) else None
    prompt = token_count(said.get("prompt_tokens")) or 0
    read = min(cached or 0, prompt)
    return {
        "input_tokens": prompt - read,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": read,
        "output_tokens": token_count(said.get("completion_tokens")) or 0,
    }


def from_messages(usage: Any, before: Usage = Usage()) -> Usage:  # noqa: ANN401, B008 - frozen
    """What an Anthropic `usage` object counts; what it does not say stays as it was *before*."""
    if not isinstance(usage, dict):
        return before
    parts = [token_count(usage.get(name)) for name in _PARTS_OF_INPUT]
    output = token_count(usage.get("output_tokens"))
    said_input = parts[0] is not None
    return Usage(
        input_tokens=sum(part or 0 for part in parts) if said_input else before.input_tokens,
        output_tokens=before.output_tokens if output is None else output,
    )
