"""What one image of a request body is: a span of that body, read in pieces and never as a whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

PIECE_BYTES = 64 * 1024

_ESCAPED_PIECE = re.compile(rb"(?:[^\\]{1,64}+|\\u[0-9A-Fa-f]{4}|\\[^u]){1,1024}+", re.DOTALL)
"""At most a piece of a JSON string, ending between two escapes."""


@dataclass(frozen=True, slots=True)
class ImagePart:
    """One image, by its place in the body that holds it."""

    body: bytes = field(repr=False)
    param: str
    """The field that names it, such as `messages[0].content[1].image_url`."""
    start: int
    """Where its URL (or bare base64) begins in the body, after the quote."""
    end: int
    """Where that ends, before the quote."""
    media_type: str | None = None
    """As a field beside bare base64 says (Anthropic's form); None: the span is a URL."""

    def pieces(self) -> Iterator[bytes]:
        """The text of the span in UTF-8, JSON escapes resolved, in pieces of at most 64 KiB."""
        if self.body.find(b"\\", self.start, self.end) < 0:
            for at in range(self.start, self.end, PIECE_BYTES):
                yield self.body[at : min(at + PIECE_BYTES, self.end)]
            return
        at = self.start
        while (match := _ESCAPED_PIECE.match(self.body, at, self.end)) is not None:
            yield _unescaped(match[0])
            at = match.end()
        if at < self.end:
            yield self.body[at : min(at + PIECE_BYTES, self.end)]  # half an escape

    def prefix(self, n_bytes: int) -> bytes:
        """The first *n_bytes* of the text (at most 1 KiB)."""
        return next(self.pieces(), b"")[:n_bytes]

    @property
    def is_embedded(self) -> bool:
        """It brings its bytes along; otherwise somebody would have to fetch them."""
        return self.media_type is not None or self.prefix(5).lower() == b"data:"

    @property
    def is_remote(self) -> bool:
        """It is an http(s) URL."""
        return self.media_type is None and self.prefix(8).lower().startswith(
            (b"http://", b"https://")
        )


def _unescaped(piece: bytes) -> bytes:
    if b"\\" not in piece:
        return piece
    try:
        text: str = json.loads(b'"' + piece + b'"', strict=False)
    except ValueError:
        return piece  # an escape that JSON does not know: what it is not, is base64
    return text.encode("utf-8", "surrogatepass")
