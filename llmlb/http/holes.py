"""Where the long base64 strings of a body wait while the rest of it is parsed and rebuilt."""

from __future__ import annotations

import re
import secrets
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from llmlb.http.payload import Payload
from llmlb.http.splicing import joined

LONG_BYTES = 4096
"""What is shorter is not worth it."""

_BASE64 = rb"[A-Za-z0-9+/=]*+(?:\\(?:/|u00(?:2[bBfF]|3[dD]))[A-Za-z0-9+/=]*+)*+"
"""As JSON writers put it, some of which escape slashes (PHP, Java), pluses (.NET) or equals signs.

It begins and ends between two escapes and holds no quote: a JSON text is as valid, or as
invalid, with anything harmless in its place. And it means the same inside a string inside a
string, where a tool's arguments go.
"""

_VALUE = re.compile(
    rb'"(?:data|url|image_url|file_data)"[ \t\r\n]*+:[ \t\r\n]*+"'
    rb"(?i:data:(?:[\w/+.;=-]|\\/){1,120}?;base64,)?"
)
"""How a member begins that may hold base64, bare or in a data URL: an image, a sound, a file.

Other fields stay as they are, for they may stand in error messages.
"""

_TO_ITS_END = re.compile(_BASE64 + rb'(?=")')

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="

_WRITTEN = _ALPHABET + b"\\"

_LOOKED_AT_BYTES = 32

_PIECE_BYTES = 64 * 1024

_MARK = f"hole-{secrets.token_hex(16)}-"
"""Stands for what was taken out. Never sent to anybody, so nobody can write it."""

_MARKS = re.compile(_MARK.encode() + rb"(\d+);")


@dataclass(frozen=True, slots=True)
class Holes:
    """What was taken out of one body, as views on it: an image is not copied to be parsed."""

    taken: tuple[memoryview, ...] = ()
    mark_ends: tuple[int, ...] = ()
    """Where the mark of each ends in the hollow body."""
    shifts: tuple[int, ...] = (0,)
    """By how much the places behind so many marks are further back in the whole body."""

    def whole_place(self, place: int) -> int:
        """Where in the whole body the *place* of the hollow one is, which is inside no mark."""
        return place + self.shifts[bisect_right(self.mark_ends, place)]

    def fill(self, text: bytes) -> bytes | Payload:
        """*text* with everything back in its place, wherever its marks have gone."""
        return joined(self._pieces(text)) if self.taken else text

    def fill_whole(self, text: bytes) -> bytes:
        """The same, in one piece."""
        return b"".join(self._pieces(text)) if self.taken else text

    def _pieces(self, text: bytes) -> Iterator[memoryview]:
        view, start = memoryview(text), 0
        for mark in _MARKS.finditer(text):
            yield view[start : mark.start()]
            yield self.taken[int(mark[1])]
            start = mark.end()
        yield view[start:]


def take_out(body: bytes) -> tuple[bytes, Holes]:
    """*body* with a short mark for each long base64 string, and what they stand for.

    A parser would hold an image of 10 MiB twice, or four times if it has to resolve escapes; a
    user's ten of them are 130 MiB. The hollow body is valid JSON if and only if *body* is.
    """
    if len(body) < LONG_BYTES or not _may_hold_base64(body):
        return body, Holes()
    view = memoryview(body)
    pieces: list[bytes | memoryview] = []
    taken: list[memoryview] = []
    mark_ends, shifts = [], [0]
    done = at = 0
    while (found := _VALUE.search(body, at)) is not None:
        start = found.end()
        end = _end_of_base64(body, start)
        if end - start < LONG_BYTES:
            at = start - 1  # the quote may begin the next one, in what is no JSON
            continue
        mark = f"{_MARK}{len(taken)};".encode()
        pieces += [view[done:start], mark]
        taken.append(view[start:end])
        mark_ends.append(start - shifts[-1] + len(mark))
        shifts.append(shifts[-1] + end - start - len(mark))
        done = at = end
    if not taken:
        return body, Holes()
    pieces.append(view[done:])
    return b"".join(pieces), Holes(tuple(taken), tuple(mark_ends), tuple(shifts))


def _may_hold_base64(body: bytes) -> bool:
    """To look at a few bytes here and there is enough to meet each run that is long."""
    step = LONG_BYTES // 2
    return any(
        not body[at : at + _LOOKED_AT_BYTES].translate(None, _WRITTEN)
        for at in range(step, len(body), step)
    )


def _end_of_base64(body: bytes, start: int) -> int:
    """Where the base64 ends that begins at *start* and fills its string; *start* if none does.

    An expression takes five times as long as `translate` does over some MiB.
    """
    end = body.find(b'"', start)
    if end - start < LONG_BYTES:
        return start
    for at in range(start, end, _PIECE_BYTES):
        if odd := body[at : min(at + _PIECE_BYTES, end)].translate(None, _ALPHABET):
            escaped = _TO_ITS_END.match(body, start) if odd.startswith(b"\\") else None
            return start if escaped is None else escaped.end()
    return end
