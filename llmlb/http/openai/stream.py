"""Has a stream begun to say something, has it said all, and what did it cost."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from llmlb.accounting import Usage
from llmlb.http.openai.answer import read_usage
from llmlb.http.openai.event_meter import EventMeter, is_named
from llmlb.http.openai.long_event import usage_in

_ENDS = (
    "image_generation.completed",
    "image_edit.completed",
    "speech.audio.done",
    "transcript.text.done",
)
"""Typed events after which one choice (an image, a speech, a transcript) is complete."""

_END = rb"(?:%b)" % b"|".join(re.escape(kind.encode()) for kind in _ENDS)

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


@dataclass(slots=True, kw_only=True)
class StreamMeter(EventMeter):
    """Follows the events of one stream: chunks with choices, or typed ones of media routes.

    Both at once, for a transcript may come as either: as OpenAI's events, or as vLLM's chunks.
    """

    choices: int = 1
    """How many choices (or images) have to finish."""
    _finished: set[int] = field(default_factory=set)

    @property
    def complete(self) -> bool:
        """Whether the stream may end here: `[DONE]`, or every choice has its finish_reason."""
        return self.done or len(self._finished) >= self.choices

    def _names(self, events: bytes) -> bool:
        return (
            is_named(events, b'"finish_reason"')
            or is_named(events, b'"usage"')
            or events.find(b".completed") >= 0
            or events.find(b".done") >= 0
        )

    def _take_ends(self, ends: bytes) -> None:
        if _LONG_END.search(ends):
            self._finish(len(self._finished))
        if (usage := usage_in(ends)) != Usage():
            self.usage = usage

    def _take(self, kind: str, event: dict[str, Any]) -> bool:
        if event.get("error") or event.get("object") == "error":
            self._fail(event.get("error") or event)
            return False
        usage, choices = event.get("usage"), event.get("choices")
        if isinstance(usage, dict):
            self.usage = read_usage(usage)
        if not isinstance(choices, list):
            self._see_typed(kind, event)
            return False
        for position, choice in enumerate(choices):
            if isinstance(choice, dict):
                self._see_choice(position, choice)
        return not choices and isinstance(usage, dict)

    def _see_typed(self, kind: str, event: dict[str, Any]) -> None:
        if kind in _ENDS:
            self._finish(len(self._finished))
        if not kind.endswith(".delta") or event.get("delta") or event.get("audio"):
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
