"""Has a stream of `/v1/responses` begun to say something, has it said all, what did it cost."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from llmlb.http.inference import Remember, forget
from llmlb.http.openai.answer import read_usage
from llmlb.http.openai.event_meter import EventMeter
from llmlb.http.openai.long_event import usage_in
from llmlb.http.openai.response import kept_of

_ENDS = ("response.completed", "response.incomplete", "response.cancelled")

_TYPE = rb'(?:"type"\s*:\s*"|(?:^|[\r\n])event:\s*)'

_END = rb"response\.(?:completed|incomplete|cancelled)"

_LONG_END = re.compile(_TYPE + _END)
"""The end, in an event of which only the ends are known: it repeats the whole answer."""

_BEFORE_CONTENT = frozenset({"response.created", "response.queued", "response.in_progress"})


@dataclass(slots=True, kw_only=True)
class ResponseMeter(EventMeter):
    """Follows the typed events of one response, which completes, or goes as far as it can."""

    remember: Remember = forget
    """Told what the endpoint keeps, before the first content: the first event says it."""
    _told: bool = False

    def _names(self, events: bytes) -> bool:
        return (
            events.find(b"response.completed") >= 0
            or events.find(b"response.incomplete") >= 0
            or events.find(b"response.cancelled") >= 0
            or events.find(b"response.failed") >= 0
        )

    def _take_ends(self, ends: bytes) -> None:
        if _LONG_END.search(ends):
            self.usage, self.done = usage_in(ends), True

    def _take(self, kind: str, event: dict[str, Any]) -> bool:
        response = event.get("response")
        response = response if isinstance(response, dict) else {}
        if not self._told and (kept := kept_of(response)):
            self._told = True
            for kept_id in kept:
                self.remember(kept_id)
        if kind == "response.failed":
            self._fail(response.get("error") or event)
        elif kind in _ENDS:
            self.usage = read_usage(response.get("usage"))
            self.begun = self.done = True
        elif kind not in _BEFORE_CONTENT:
            self.begun = True
        return False
