"""Has a message's own stream begun to say something, has it said all, what did it cost."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from llmlb.accounting import Usage
from llmlb.http.anthropic.usage import from_messages
from llmlb.http.openai.answer import read_error
from llmlb.http.sse import Piece, data_of, type_of

_TELLING = re.compile(
    rb'"(?:type"\s*:\s*"(?:message_delta|message_stop|error)"|error"\s*:\s*["{])'
    rb"|(?:^|[\r\n])(?:event:\s*(?:message_delta|message_stop|error)|error:|data:\s*\[DONE\])"
)
"""Events worth parsing once content flows. What a model writes has its quotes escaped."""

_BEFORE_CONTENT = frozenset({"message_start", "ping"})


@dataclass(slots=True)
class MessageMeter:
    """Follows the typed events of one message. Sans-IO, bounded."""

    begun: bool = False
    done: bool = False
    usage: Usage = field(default_factory=Usage)
    error: str | None = None

    @property
    def complete(self) -> bool:
        """Whether the stream may end here: the message has stopped."""
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
            if event.lstrip(b"\r\n").startswith(b"error:"):
                self.error = read_error(200, event.partition(b":")[2]).message
            return
        if data.strip() == b"[DONE]":
            self.done = True  # no word of this dialect, but some engines end all streams alike
            return
        try:
            told = json.loads(data)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            self.begun = True  # unknown, so not ours to withhold
            return
        kind = str(told.get("type") or type_of(event).decode("latin-1"))
        if kind == "error" or (told.get("error") and "type" not in told):
            self.error = read_error(200, data).message
        else:
            self._take(kind, told)

    def _take(self, kind: str, told: dict[str, Any]) -> None:
        match kind:
            case "message_start":
                message = told.get("message")
                said = message.get("usage") if isinstance(message, dict) else None
                self.usage = from_messages(said, self.usage)
            case "message_delta":
                self.begun = True
                # Counted from the beginning of the message, so the last one holds.
                self.usage = from_messages(told.get("usage"), self.usage)
            case "message_stop":
                self.done = True
            case _ if kind not in _BEFORE_CONTENT:
                self.begun = True
