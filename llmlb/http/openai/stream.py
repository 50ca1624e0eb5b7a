"""Has a stream begun to say something, has it said all, and what did it cost."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from llmlb.accounting import Usage
from llmlb.http.openai.answer import read_error, read_usage
from llmlb.http.openai.long_event import LongEvent, usage_in
from llmlb.http.sse import Piece, data_of, error_of, type_of

_ENDS = (
    "image_generation.completed",
    "image_edit.completed",
    "speech.audio.done",
    "transcript.text.done",
)
"""Typed events after which one choice (an image, a speech, a transcript) is complete."""

_END = rb"(?:%b)" % b"|".join(re.escape(kind.encode()) for kind in _ENDS)

_TELLING = re.compile(
    rb'"(?:finish_reason"\s*:\s*"|usage"\s*:\s*\{|error"\s*:\s*["{]|object"\s*:\s*"error"'
    rb'|type"\s*:\s*"(?:error|%b)")'
    rb"|^(?:data:\s*\[DONE\]|event:\s*(?:error|%b)|error:)"
    rb"|[\r\n](?:data:\s*\[DONE\]|event:\s*(?:error|%b)|error:)" % (_END, _END, _END)
)
"""Events worth parsing once content flows. All others are tokens: one search, no JSON.

Text that a model writes cannot look like this, for its quotes and line ends are escaped.
"""

_LONG_END = re.compile(rb'"type"\s*:\s*"%b"|(?:^|[\r\n])event:\s*%b' % (_END, _END))
"""The same of an event of which only the ends are known."""

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
    """Follows the events of one stream: chunks with choices, or typed ones of media routes.

    Both at once, for a transcript may come as either: as OpenAI's events, or as vLLM's chunks.
    Sans-IO, bounded.
    """

    choices: int = 1
    """How many choices (or images) have to finish."""
    begun: bool = False
    """The first content has come: what follows is for the client, come what may."""
    done: bool = False
    usage: Usage = field(default_factory=Usage)
    error: str | None = None
    """What the endpoint said instead of going on."""
    _finished: set[int] = field(default_factory=set)
    _long: LongEvent = field(default_factory=LongEvent)

    @property
    def complete(self) -> bool:
        """Whether the stream may end here: `[DONE]`, or every choice has its finish_reason."""
        return self.done or len(self._finished) >= self.choices

    def see(self, piece: Piece) -> bool:
        """Take in one piece. True if it is a chunk of usage alone, with no choices."""
        if not piece.whole:
            self.begun = True  # longer than what may be withheld
            self._see_part(piece)
            return False
        if self.begun and not _TELLING.search(piece.raw):
            return False
        data, kind, error = data_of(piece.raw), type_of(piece.raw), error_of(piece.raw)
        if kind == b"error" or error is not None:
            self.error = read_error(200, data or error or b"error").message
            return False
        if data is None:
            return False  # a comment, or an event without data
        if data.strip() == b"[DONE]":
            self.done = True
            return False
        return self._see_chunk(data, kind.decode("latin-1"))

    def _see_part(self, piece: Piece) -> None:
        ends = self._long.see(piece)
        if ends is None:
            return
        if _LONG_END.search(ends):
            self._finish(len(self._finished))
        if (usage := usage_in(ends)) != Usage():
            self.usage = usage

    def _see_chunk(self, data: bytes, event_type: str) -> bool:
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            self.begun = True  # unknown, so not ours to withhold
            return False
        if not isinstance(chunk, dict):
            self.begun = True
            return False
        kind = chunk.get("type", event_type)
        if chunk.get("error") or "error" in (kind, chunk.get("object")):
            self.error = read_error(200, data).message
            return False
        if isinstance(chunk.get("usage"), dict):
            self.usage = read_usage(chunk["usage"])
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            self._see_typed(kind, chunk)
            return False
        for position, choice in enumerate(choices):
            if isinstance(choice, dict):
                self._see_choice(position, choice)
        return not choices and isinstance(chunk.get("usage"), dict)

    def _see_typed(self, kind: Any, event: dict[str, Any]) -> None:  # noqa: ANN401 - foreign JSON
        if kind in _ENDS:
            self._finish(len(self._finished))
        if not str(kind).endswith(".delta") or event.get("delta") or event.get("audio"):
            self.begun = True  # a delta of nothing announces a transcript, and says none of it

    def _finish(self, index: int) -> None:
        if len(self._finished) < self.choices:
            self._finished.add(index)

    def _see_choice(self, position: int, choice: dict[str, Any]) -> None:
        if choice.get("finish_reason"):
            index = choice.get("index")
            self._finish(index if isinstance(index, int) else position)
            self.begun = True
        delta = choice.get("delta")
        if choice.get("text") or (
            isinstance(delta, dict) and any(delta.get(name) for name in _CONTENT)
        ):
            self.begun = True
