"""Which events of an endpoint's stream are read at all, and what any of them may say."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from llmlb.accounting import Usage
from llmlb.http.openai.answer import error_from, read_error
from llmlb.http.openai.long_event import LongEvent
from llmlb.http.sse import Piece, data_of, error_of, type_of

_ERROR = re.compile(
    rb'"error"(?![ \t\r\n]*+:[ \t\r\n]*+null)'
    rb"|(?:^|[\r\n])(?:\xef\xbb\xbf)?(?:error|event:\s*+error)"
)
_ESCAPED = re.compile(rb"\\u00(?:2[eE]|5[fF]|[67])")
"""A letter, a dot or an underscore, of which names are made, in a way in which nobody writes it."""

_NULL = re.compile(rb"[ \t\r\n]*+:[ \t\r\n]*+null")


_USUAL_NULLS = (b":null", b": null")

# Of bytes, `find` costs half of what `in` does, which first asks whether it is given a number.


def is_named(events: bytes, quoted: bytes) -> bool:
    """Whether a text *quoted* stands anywhere in *events*, but as the name of a null."""
    at = events.find(quoted)
    while at >= 0:
        at += len(quoted)
        if not (events.startswith(_USUAL_NULLS, at) or _NULL.match(events, at)):
            return True
        at = events.find(quoted, at)
    return False


@dataclass(slots=True, kw_only=True)
class EventMeter(ABC):
    """Follows one stream, event by event; a subclass knows its events. Sans-IO, bounded.

    Once content flows, only events that may tell more than a token are parsed.
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

    def tells(self, events: bytes) -> bool:
        """Whether any of these whole events may tell more than another token; sure if it says no.

        Searched for are the names that matter, in their quotes: in the text that a model writes
        these are escaped. A name may be spelled with escapes itself; then that is what tells.
        """
        return (
            (events.find(b"error") >= 0 and _ERROR.search(events) is not None)
            or (events.find(b"\\u00") >= 0 and _ESCAPED.search(events) is not None)
            or events.find(b"[DONE]") >= 0
            or self._names(events)
        )

    @abstractmethod
    def _names(self, events: bytes) -> bool:
        """Whether *events* may hold a name of what is taken in of an event, errors apart."""

    def see(self, piece: Piece) -> bool:
        """Take in one piece. True if it tells the usage alone."""
        if not piece.whole:
            self.begun = True  # longer than what may be withheld
            if (ends := self._long.see(piece)) is not None:
                self._take_ends(ends)
            return False
        if self.begun and not self.tells(piece.raw):
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
            event = json.loads(data.decode("utf-8", "surrogatepass"))  # and no other encoding
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
