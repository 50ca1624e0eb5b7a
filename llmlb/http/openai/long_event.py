"""What can be told of an event that is too long to be held: how it begins, and how it ends."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from llmlb.accounting import Usage
from llmlb.http.openai.answer import read_usage
from llmlb.http.sse import Piece

EDGE_BYTES = 4096
"""So much is kept of either end. An image stands between its type and its usage."""

_USAGE = re.compile(rb'"usage"\s*:\s*(?=\{)')


@dataclass(slots=True)
class LongEvent:
    """Owns the two ends of the long event that is coming in, if one is. Bounded."""

    _head: bytearray = field(default_factory=bytearray)
    _tail: bytes = b""

    def see(self, part: Piece) -> bytes | None:
        """Take in one part. With the last one, both ends of the event, a NUL between them.

        No pattern of JSON can match across the NUL, and none inside of a string, where the
        quotes are escaped.
        """
        self._head += part.raw[: EDGE_BYTES - len(self._head)]
        self._tail = (self._tail + part.raw[-EDGE_BYTES:])[-EDGE_BYTES:]
        if not part.last:
            return None
        ends = bytes(self._head) + b"\0" + self._tail
        self._head.clear()
        self._tail = b""
        return ends


def usage_in(ends: bytes) -> Usage:
    """The last `usage` object that stands whole in *ends*, if one does."""
    usage = Usage()
    for found in _USAGE.finditer(ends):
        text = ends[found.end() : found.end() + EDGE_BYTES].decode("utf-8", "replace")
        try:
            usage = read_usage(json.JSONDecoder().raw_decode(text)[0])
        except (ValueError, RecursionError):
            continue  # cut off
    return usage
