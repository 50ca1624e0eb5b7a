"""Where long base64 strings wait while the rest of a body is parsed and rebuilt."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

_FIELD = re.compile(
    rb'"(?:data|url|image_url|file_data)"[ \t\r\n]*:[ \t\r\n]*'
    rb'"(?:data:(?:[\w/+.-]|\\/){1,80};base64,)?((?:[A-Za-z0-9+=]++|\\?/)*+)"'
)
"""A field of base64, or its data URL. A slash may be escaped, as some writers of JSON do.

Other fields stay as they are, for they may stand in error messages.
"""

_LONG_BYTES = 4096

_MARK = f"hole-{secrets.token_hex(16)}-"
"""Stands for what was taken out. Never sent to anybody, so nobody can write it."""

_MARKS = re.compile(_MARK.encode() + rb"(\d+);")


@dataclass(frozen=True, slots=True)
class Holes:
    """What was taken out of one body, as views on it: an image is not copied to be parsed."""

    taken: tuple[memoryview, ...] = ()

    def fill(self, body: bytes) -> bytes:
        """*body* with everything back in its place, wherever its marks have gone."""
        if not self.taken:
            return body
        pieces: list[bytes | memoryview] = []
        start = 0
        for mark in _MARKS.finditer(body):
            pieces += [body[start : mark.start()], self.taken[int(mark[1])]]
            start = mark.end()
        pieces.append(body[start:])
        return b"".join(pieces)


def take_out(body: bytes) -> tuple[bytes, Holes]:
    """*body* with a short mark for each long base64 string, and what they stand for.

    The one is valid JSON if the other is. Parsing an image of 10 MiB to a string, and writing it
    to another, would hold it five times; a user's ten of them are 130 MiB.
    """
    view = memoryview(body)
    pieces: list[bytes | memoryview] = []
    taken: list[memoryview] = []
    start = 0
    for found in _FIELD.finditer(body):
        if found.end(1) - found.start(1) < _LONG_BYTES:
            continue
        pieces += [view[start : found.start(1)], f"{_MARK}{len(taken)};".encode()]
        taken.append(view[found.start(1) : found.end(1)])
        start = found.end(1)
    if not taken:
        return body, Holes()
    pieces.append(view[start:])
    return b"".join(pieces), Holes(tuple(taken))
