"""Has a stream of `/v1/responses` begun to say something, has it said all, what did it cost."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from llmlb.accounting import Usage
from llmlb.http.inference import Remember, forget
from llmlb.http.openai.answer import error_from, read_error, read_usage
from llmlb.http.openai.long_event import LongEvent, usage_in
from llmlb.http.openai.response import kept_of
from llmlb.http.sse import Piece, data_of, error_of, type_of

_TELLING = re.compile(
    rb'"(?:type"\s*:\s*"(?:response\.(?:completed|incomplete|cancelled|failed)|error)"|error"\s*:\s*["{])'
    rb"|(?:^|[\r\n])(?:event:\s*error|error:|data:\s*\[DONE\])"
)
"""Events worth parsing once content flows."""

_LONG_END = re.compile(rb'"type"\s*:\s*"response\.(?:completed|incomplete|cancelled)"')
"""The end, in an event of which only the ends are known: it repeats the whole answer."""

_ENDS = ("response.completed", "response.incomplete", "response.cancelled")

_BEFORE_CONTENT = frozenset({"response.created", "response.queued", "response.in_progress"})


@dataclass(slots=True)
class ResponseMeter:
    """Follows the typed events of one response. Sans-IO, bounded."""

    begun: bool = False
    done: bool = False
    usage: Usage = field(default_factory=Usage)
    error: str | None = None
    remember: Remember = forget
    """Told what the endpoint keeps, before the first content: the first event says it."""
    _told: bool = False
    _long: LongEvent = field(default_factory=LongEvent)

    @property
    def complete(self) -> bool:
        """Whether the stream may end here: the response has completed, or as far as it can."""
        return self.done

    def see(self, piece: Piece) -> bool:
        """Take in one piece. Always False: no event tells the usage alone."""
        if not piece.whole:
            self.begun = True  # longer than what may be withheld
            self._see_part(piece)
        elif not self.begun or _TELLING.search(piece.raw):
            self._read(piece.raw)
        return False

    def _see_part(self, piece: Piece) -> None:
        ends = self._long.see(piece)
        if ends is not None and _LONG_END.search(ends):
            self.usage, self.done = usage_in(ends), True

    def _read(self, event: bytes) -> None:
        data, kind, error = data_of(event), type_of(event), error_of(event)
        if kind == b"error" or error is not None:
            self.error = read_error(200, data or error or b"error").message
            return
        if data is None:
            return
        if data.strip() == b"[DONE]":
            self.done = True
            return
        try:
            told = json.loads(data)
        except (ValueError, RecursionError):
            self.begun = True  # unknown, so not ours to withhold
            return
        self._take(told if isinstance(told, dict) else {}, kind.decode("latin-1"))

    def _take(self, told: dict[str, Any], event_type: str) -> None:
        kind = str(told.get("type") or event_type)
        response = told.get("response")
        response = response if isinstance(response, dict) else {}
        if not self._told and (kept := kept_of(response)):
            self._told = True
            for kept_id in kept:
                self.remember(kept_id)
        if kind in ("error", "response.failed") or ("type" not in told and told.get("error")):
            said = response.get("error") or told.get("error") or told
            self.error = error_from(200, said).message
        elif kind in _ENDS:
            self.usage = read_usage(response.get("usage"))
            self.begun = self.done = True
        elif kind not in _BEFORE_CONTENT:
            self.begun = True
