"""Which events of an endpoint's stream are read at all, and what any of them may say."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

from llmlb.accounting import Usage
from llmlb.http.openai.answer import error_from, read_error
from llmlb.http.openai.long_event import LongEvent
from llmlb.http.sse import Piece, data_of, error_of, type_of


@dataclass(slots=True, kw_only=True)
class EventMeter(ABC):
    """Follows one stream, event by event; a subclass knows its events. Sans-IO, bounded."""

    telling: ClassVar[re.Pattern[bytes]]
    """Events worth parsing once content flows. All others are tokens: one search, no JSON.

    Text that a model writes cannot look like this, for its quotes and line ends are escaped.
    """

    begun: bool = False
    """The first content has come: what follows is for the client, come what may."""
    done: bool = False
    usage: Usage = field(default_factory=Usage)
    error: str | None = None
    """What the endpoint said instead of going on."""
    _long: LongEvent = field(default_factory=LongEvent)

    @property
    def complete(self) -> bool:
        """Whether the stream may end here: it has said so."""
        return self.done

    def see(self, piece: Piece) -> bool:
        """Take in one piece. True if it tells the usage alone."""
        if not piece.whole:
            self.begun = True  # longer than what may be withheld
            if (ends := self._long.see(piece)) is not None:
                self._take_ends(ends)
            return False
        if self.begun and not self.telling.search(piece.raw):
            return False
        return self._read(piece.raw)

    def _read(self, raw: bytes) -> bool:
        data, named, error = data_of(raw), type_of(raw), error_of(raw)
        if named == b"error" or error is not None:
            self.error = read_error(200, data or error or b"error").message
            return False
        if data is None:
            return False  # a comment, or an event without data
        if data.strip() == b"[DONE]":
            self.done = True
            return False
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            self.begun = True  # unknown, so not ours to withhold
            return False
        kind = str(event.get("type") or named.decode("latin-1"))
        if kind == "error" or ("type" not in event and event.get("error")):
            self._fail(event.get("error") or event)
            return False
        return self._take(kind, event)

    @abstractmethod
    def _take(self, kind: str, event: dict[str, Any]) -> bool:
        """Take in an event of this type that is not an error. True if it tells the usage alone."""

    @abstractmethod
    def _take_ends(self, ends: bytes) -> None:
        """Take in an event that was too long to be held, by how it begins and ends."""

    def _fail(self, said: Any) -> None:  # noqa: ANN401 - foreign JSON
        self.error = error_from(200, said).message
