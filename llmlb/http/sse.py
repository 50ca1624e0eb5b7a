"""Where does one server-sent event end and the next begin, whatever the pieces."""

from __future__ import annotations

import re
from typing import NamedTuple

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\n\r(?=[^\n])")
_LONGEST_END_BYTES = 4

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""A stream may begin with it."""


class Piece(NamedTuple):
    """A run of bytes of the stream, exactly as they came."""

    raw: bytes
    whole: bool
    """One complete event with its blank line; else a part of an event too long to hold."""
    last: bool = True
    """The event ends here."""


class EventScanner:
    """Splits a byte stream into whole events. Sans-IO; holds at most *limit_bytes* back.

    Line ends may be LF, CRLF or CR, in any mixture; an event may come in any number of
    reads, and one read may hold any number of events.
    """

    def __init__(self, limit_bytes: int = 64 * 1024) -> None:
        self._limit_bytes = limit_bytes
        self._held = bytearray()
        self._searched = 0
        self._inside_long = False

    def feed(self, data: bytes) -> list[Piece]:
        """Take in *data*; return what can be passed on. No byte is lost, added or moved."""
        self._held += data
        pieces: list[Piece] = []
        start = 0
        while match := _END.search(self._held, max(start, self._searched)):
            raw = bytes(self._held[start : match.end()])
            # One that came in a single read is treated like one that came in many.
            whole = not self._inside_long and len(raw) <= self._limit_bytes
            pieces.append(Piece(raw, whole))
            self._inside_long = False
            start = self._searched = match.end()
        del self._held[:start]
        # An end may be cut in two by the read: look at its first bytes again next time.
        self._searched = max(0, len(self._held) - _LONGEST_END_BYTES + 1)
        if len(self._held) > self._limit_bytes:
            keep = _LONGEST_END_BYTES - 1
            pieces.append(Piece(bytes(self._held[:-keep]), whole=False, last=False))
            del self._held[:-keep]
            self._searched = 0
            self._inside_long = True
        return pieces

    def whole_events(self, data: bytes) -> tuple[bytes, bytes]:
        """The events that end in *data*, in one piece, and what comes after them.

        The first is empty where they have to be looked at one by one: lines that do not end in LF,
        blank lines that may be read in two ways, an event too long to hold. Nothing is taken in.
        """
        end = data.rfind(b"\n\n") + 2
        if end < 2 or self._inside_long:
            return b"", data
        block, rest = (data, b"") if end == len(data) else (data[:end], data[end:])
        if self._held:
            block = bytes(self._held) + block
        if len(block) > self._limit_bytes or block.find(b"\r") >= 0 or block.endswith(b"\n\n\n"):
            return b"", data
        return block, rest

    def drop(self) -> None:
        """Forget what is held: it has been passed on with the events of `whole_events`."""
        if self._held:
            self._held.clear()
        self._searched = 0

    @property
    def inside_long(self) -> bool:
        """Whether the beginning of an event has been passed on, and not yet its end."""
        return self._inside_long

    @property
    def gathering(self) -> bool:
        """Whether an event with data is on its way, and has not ended yet."""
        return self._inside_long or self._held.find(b"data:") >= 0

    def rest(self) -> bytes:
        """What came after the last blank line: at the end of the stream, an event cut short."""
        held, self._held = bytes(self._held), bytearray()
        return held


def data_of(event: bytes) -> bytes | None:
    """The event's data: its `data:` lines joined with LF. None if it has none."""
    lines = _values(event, b"data")
    return b"\n".join(lines) if lines else None


def type_of(event: bytes) -> bytes:
    """The event's `event:` field (the last one counts), or an empty string."""
    return b"".join(_values(event, b"event")[-1:]).strip()


def error_of(event: bytes) -> bytes | None:
    """The event's `error:` field, which is no standard's but llama.cpp's. None if it has none."""
    lines = _values(event, b"error")
    return b"\n".join(lines) if lines else None


def _values(event: bytes, name: bytes) -> list[bytes]:
    """What the lines of the field *name* say, in their order; a line may lack its colon."""
    prefix = name + b":"
    return [
        line[len(prefix) :].removeprefix(b" ")
        for line in event.removeprefix(_BYTE_ORDER_MARK).splitlines()
        if line.startswith(prefix) or line == name
    ]
