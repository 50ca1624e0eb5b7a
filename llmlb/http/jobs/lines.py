"""Where one line of a stream ends and the next begins: sans-IO, bounded."""

from __future__ import annotations

from dataclasses import dataclass, field

LINE_LIMIT_BYTES = 64 * 1024


class LineTooLong(Exception):
    """A line does not end."""


@dataclass(slots=True)
class Lines:
    """Puts the pieces of a stream together to lines."""

    _begun: bytearray = field(default_factory=bytearray)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that *chunk* completes, without their ends. Raises LineTooLong."""
        *whole, rest = chunk.split(b"\n")
        if whole:
            whole[0] = bytes(self._begun) + whole[0]
            self._begun.clear()
        self._begun += rest
        if len(self._begun) > LINE_LIMIT_BYTES or any(len(w) > LINE_LIMIT_BYTES for w in whole):
            raise LineTooLong
        return whole

    def rest(self) -> bytes:
        """The last line, if the stream has ended without an end of it."""
        return bytes(self._begun)
