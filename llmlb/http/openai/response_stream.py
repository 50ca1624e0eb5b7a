"""Has a stream of `/v1/responses` begun to say something, has it said all, what did it cost."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from llmlb.accounting import Usage
from llmlb.http.openai.answer import read_error, read_usage
from llmlb.http.sse import Piece, data_of, type_of

_TELLING = re.compile(
    rb'"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed)|error)"'
    rb"|(?:^|[\r\n])(?:event:\s*error|error:|data:\s*\[DONE\])"
)
"""Events worth parsing once content flows."""

_ENDS = ("response.completed", "response.incomplete")

_BEFORE_CONTENT = frozenset({"response.created", "response.queued", "response.in_progress"})


@dataclass(slots=True)
class ResponseMeter:
    """Follows the typed events of one response. Sans-IO, bounded."""

    begun: bool = False
    done: bool = False
    usage: Usage = field(default_factory=Usage)
    error: str | None = None

    @property
    def complete(self) -> bool:
        """Whether the stream may end here: the response has completed, or as far as it can."""
        return self.done

    def see(self, piece: Piece) -> bool:
        """Take in one piece. Always False: no event tells the usage alone."""
        if not piece.whole:
            self.begun = True  # longer than what may be withheld
        elif not self.begun or _TELLING.search(piece.raw):
            self._read(piece.raw)
        return False

    def _read(self, event: bytes) -> None:
        data = data_of(event)
        if data is None:
            if event.startswith(b"error:"):
                self.error = read_error(200, event.partition(b":")[2]).message
            return
        if data.strip() == b"[DONE]":
            self.done = True
            return
        try:
            told = json.loads(data)
        except (ValueError, RecursionError):
            self.begun = True  # unknown, so not ours to withhold
            return
        self._take(told if isinstance(told, dict) else {}, type_of(event).decode("latin-1"))

    def _take(self, told: dict[str, Any], event_type: str) -> None:
        kind = str(told.get("type") or event_type)
        response = told.get("response")
        response = response if isinstance(response, dict) else {}
        if kind in ("error", "response.failed") or ("type" not in told and told.get("error")):
            said = response.get("error") or told.get("error") or told
            self.error = read_error(200, json.dumps({"error": said}).encode()).message
        elif kind in _ENDS:
            self.usage = read_usage(response.get("usage"))
            self.begun = self.done = True
        elif kind not in _BEFORE_CONTENT:
            self.begun = True
