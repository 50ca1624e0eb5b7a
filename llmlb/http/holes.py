"""Where the long base64 strings of a body wait while the rest of it is parsed and rebuilt."""

from __future__ import annotations

import re
import secrets
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
    rb"(?i:data:(?:[\w/+.;=-]|\\/){1,120}?;base64,)?(" + _BASE64 + rb')(?=")'
)
"""A member that holds base64 or a data URL, such as that of an image, a sound or a file.

Other fields stay as they are, for they may stand in error messages.
"""

_MARK = f"hole-{secrets.token_hex(16)}-"
"""Stands for what was taken out. Never sent to anybody, so nobody can write it."""

_MARKS = re.compile(_MARK.encode() + rb"(\d+);")


@dataclass(frozen=True, slots=True)
class Holes:
    """What was taken out of one body, as views on it: an image is not copied to be parsed."""

    taken: tuple[memoryview, ...] = ()

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
    view = memoryview(body)
    pieces: list[bytes | memoryview] = []
    taken: list[memoryview] = []
    at = 0
    for found in _VALUE.finditer(body):
        start, end = found.span(1)
        if end - start >= LONG_BYTES:
            pieces += [view[at:start], f"{_MARK}{len(taken)};".encode()]
            taken.append(view[start:end])
            at = end
    if not taken:
        return body, Holes()
    pieces.append(view[at:])
    return b"".join(pieces), Holes(tuple(taken))
