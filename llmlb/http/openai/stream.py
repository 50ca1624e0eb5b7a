"""Has a stream begun to say something, has it said all, and what did it cost."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from llmlb.accounting import Usage
from llmlb.http.openai.answer import read_error, read_usage
from llmlb.http.sse import Piece, data_of, type_of

_TELLING = re.compile(
    rb'"(?:finish_reason"\s*:\s*"|usage"\s*:\s*\{|error"\s*:\s*["{]|object"\s*:\s*"error")'
    rb"|^(?:data:\s*\[DONE\]|event:\s*error|error:)"
    rb"|[\r\n](?:data:\s*\[DONE\]|event:\s*error|error:)"
)
"""Events worth parsing once content flows. All others are tokens: one search, no JSON.

Text that a model writes cannot look like this, for its quotes and line ends are escaped.
"""

_CONTENT = (
    "content",
    "reasoning_content",
    "reasoning",
    "refusal",
    "tool_calls",
    "function_call",
    "audio",
)


@dataclass(slots=True)
class StreamMeter:
    """Follows the events of one chat or completions stream. Sans-IO, bounded."""

    choices: int = 1
    """How many choices have to finish."""
    begun: bool = False
    """The first content has come: what follows is for the client, come what may."""
    done: bool = False
    usage: Usage = field(default_factory=Usage)
    error: str | None = None
    """What the endpoint said instead of going on."""
    _finished: set[int] = field(default_factory=set)

    @property
    def complete(self) -> bool:
        """Whether the stream may end here: `[DONE]`, or every choice has its finish_reason."""
        return self.done or len(self._finished) >= self.choices

    def see(self, piece: Piece) -> bool:
        """Take in one piece. True if it is a chunk of usage alone, with no choices."""
        if not piece.whole:
            self.begun = True  # longer than what may be withheld
            return False
        if self.begun and not _TELLING.search(piece.raw):
            return False
        data = data_of(piece.raw)
        if type_of(piece.raw) == b"error" or piece.raw.lstrip(b"\r\n").startswith(b"error:"):
            said = data if data is not None else piece.raw.partition(b":")[2]
            self.error = read_error(200, said).message
            return False
        if data is None:
            return False  # a comment, or an event without data
        if data.strip() == b"[DONE]":
            self.done = True
            return False
        return self._see_chunk(data)

    def _see_chunk(self, data: bytes) -> bool:
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            self.begun = True  # unknown, so not ours to withhold
            return False
        if not isinstance(chunk, dict):
            self.begun = True
            return False
        if chunk.get("error") or chunk.get("object") == "error":
            self.error = read_error(200, data).message
            return False
        if isinstance(chunk.get("usage"), dict):
            self.usage = read_usage(chunk["usage"])
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            self.begun = True
            return False
        for position, choice in enumerate(choices):
            if isinstance(choice, dict):
                self._see_choice(position, choice)
        return not choices and isinstance(chunk.get("usage"), dict)

    def _see_choice(self, position: int, choice: dict[str, Any]) -> None:
        if choice.get("finish_reason"):
            index = choice.get("index")
            if len(self._finished) < self.choices:
                self._finished.add(index if isinstance(index, int) else position)
            self.begun = True
        delta = choice.get("delta")
        if choice.get("text") or (
            isinstance(delta, dict) and any(delta.get(name) for name in _CONTENT)
        ):
            self.begun = True
