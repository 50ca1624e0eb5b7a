"""A body with a few places changed, without a second copy of the rest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import NamedTuple

import trio

from llmlb.http.payload import Payload

COPIED_UP_TO_BYTES = 1024 * 1024
"""A smaller body is copied as a whole, which is quicker than sending it in pieces."""

PIECE_BYTES = 256 * 1024


class Edit(NamedTuple):
    """*text* in the place of what stands from *start* to *end*."""

    start: int
    end: int
    text: bytes


class Spliced:
    """A large body of several pieces, never joined."""

    def __init__(self, pieces: Sequence[memoryview]) -> None:
        self._pieces = pieces

    @property
    def size_bytes(self) -> int:
        return sum(len(piece) for piece in self._pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            for at in range(0, len(piece), PIECE_BYTES):
                await trio.lowlevel.checkpoint()
                yield bytes(piece[at : at + PIECE_BYTES])


def spliced(body: bytes, edits: Iterable[Edit]) -> bytes | Payload:
    """*body* with these *edits*, which do not overlap; the same object if there are none."""
    in_order = sorted(edits)
    return joined(_pieces(body, in_order)) if in_order else body


def joined(pieces: Iterable[memoryview]) -> bytes | Payload:
    """All *pieces* as one body; of a large one, only the views are kept."""
    several = tuple(pieces)
    if sum(map(len, several)) > COPIED_UP_TO_BYTES:
        return Spliced(several)
    return b"".join(several)


def edited(body: bytes, edits: Iterable[Edit]) -> bytes:
    """*body* with these *edits*, in one piece."""
    in_order = sorted(edits)
    return b"".join(_pieces(body, in_order)) if in_order else body


def _pieces(body: bytes, edits: Sequence[Edit]) -> Iterator[memoryview]:
    view, at = memoryview(body), 0
    for edit in edits:
        yield view[at : edit.start]
        yield memoryview(edit.text)
        at = edit.end
    yield view[at:]
