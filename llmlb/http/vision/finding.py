"""Which images a request body holds: OpenAI chat and Responses parts, and Anthropic blocks.

A JSON parser would make a second copy of every image (and a third to get there), so this walks
over the tokens of the body, with marks in the place of long base64, and keeps spans. It takes the
body to be valid JSON, which whoever reads the model's name has found out already; in one that is
not it finds what comes before the fault, and nothing worse happens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from llmlb.errors import InvalidRequest
from llmlb.http.holes import take_out
from llmlb.http.members import MAX_TOKENS, TOKEN, Span, letters_escaped
from llmlb.http.vision.part import ImagePart

MAX_DEPTH = 200
"""As deep as pydantic's parser reads."""

_READ = frozenset({b"type", b"image_url", b"url", b"source", b"data", b"media_type"})
"""Members that make an image part; no others are kept."""

_ROOTS = (b"messages", b"input")
_LISTS = (b"content", b"output")
"""Where parts stand: in such a list, below such a member of the body. Elsewhere (in a tool's
JSON schema, say) the same words mean something else."""

_KINDS = (b'"image_url"', b'"input_image"', b'"image"')

_MAX_WORD_BYTES = 256


@dataclass(slots=True)
class _Open:
    """An object or array that has begun."""

    is_object: bool
    key: bytes = b""
    """The member being read."""
    index: int = 0
    """The element being read."""
    members: dict[bytes, Span | _Open] = field(default_factory=dict)


def find_images(body: bytes) -> list[ImagePart]:
    """The images of *body*, in order. Raises InvalidRequest for a body of too many values."""
    if not (_may_name_one(body) or letters_escaped(body)):  # the usual case
        return []
    hollow, holes = take_out(body)  # of base64 there is nothing to be read
    return [
        ImagePart(body, at.param, holes.whole_place(at.start), holes.whole_place(at.end), at.kind)
        for at in _walk(hollow)
    ]


def _may_name_one(body: bytes) -> bool:
    """Whether a word that every image part holds stands in *body*, as a whole string."""
    return body.find(b"image") >= 0 and any(body.find(kind) >= 0 for kind in _KINDS)


class _Place(NamedTuple):
    """Where an image stands in the body that was walked over; as `ImagePart`."""

    param: str
    start: int
    end: int
    kind: str | None


def _walk(body: bytes) -> Iterator[_Place]:
    open_ones: list[_Open] = []
    at = n_tokens = 0
    while (token := TOKEN.match(body, at)) is not None:
        at = token.end()
        n_tokens += 1
        if n_tokens > MAX_TOKENS:
            raise InvalidRequest(f"The request body holds more than {MAX_TOKENS:,} values.")
        inner = open_ones[-1] if open_ones else None
        if inner is not None and not inner.is_object:
            inner.index += body.count(b",", *token.span(1))
        bracket = token[4]
        if bracket is None:
            if inner is not None and inner.is_object:
                _read_string(inner, token)
        elif bracket in (b"{", b"["):
            if len(open_ones) >= MAX_DEPTH:
                return
            open_ones.append(_Open(is_object=bracket == b"{"))
        elif inner is None:
            return
        else:
            open_ones.pop()
            if inner.is_object and open_ones:
                yield from _closed(body, inner, open_ones)


def _read_string(holder: _Open, token: re.Match[bytes]) -> None:
    if token[3] is not None:
        start, end = token.span(2)
        holder.key = _word(token.string, (start, end))
    elif holder.key in _READ:
        holder.members[holder.key] = token.span(2)


def _closed(body: bytes, value: _Open, around: list[_Open]) -> Iterator[_Place]:
    """What comes of an object that has just ended inside *around*."""
    holder = around[-1]
    if holder.is_object:
        if holder.key in _READ:
            holder.members[holder.key] = value
    elif _holds_parts(around):
        yield from _image(body, value, around)


def _holds_parts(around: list[_Open]) -> bool:
    root, below = around[0], around[1:-1]
    if not root.is_object or root.key not in _ROOTS:
        return False
    if not below:
        return root.key == b"input"
    named = [one.key for one in below if one.is_object]
    # What a model called a tool with is the tool's, whatever it looks like.
    return below[-1].is_object and named[-1] in _LISTS and b"input" not in named


def _image(body: bytes, part: _Open, around: list[_Open]) -> Iterator[_Place]:
    kind = part.members.get(b"type")
    match b"image_url" if kind is None else _word(body, kind):
        case b"image_url" | b"input_image":  # vLLM takes the first without a type as well
            member, source = "image_url", part.members.get(b"image_url")
            span = source.members.get(b"url") if isinstance(source, _Open) else source
            media_type = None
        case b"image":
            member, source = "source", part.members.get(b"source")
            if not isinstance(source, _Open):
                return
            if _word(body, source.members.get(b"type")) == b"base64":
                span = source.members.get(b"data")
                named = _word(body, source.members.get(b"media_type"))
                media_type = named.decode("utf-8", "replace")
            else:
                span, media_type = source.members.get(b"url"), None
        case _:
            return
    if isinstance(span, tuple):
        yield _Place(f"{_place(around)}.{member}", *span, media_type)


def _word(body: bytes, span: Span | _Open | None) -> bytes:
    """A short string as it reads; b"" for anything else."""
    if not isinstance(span, tuple) or span[1] - span[0] > _MAX_WORD_BYTES:
        return b""
    raw = body[slice(*span)]
    if b"\\" not in raw:
        return raw
    try:
        text: str = json.loads(b'"' + raw + b'"', strict=False)
    except ValueError:
        return b""
    return text.encode("utf-8", "surrogatepass")


def _place(around: list[_Open]) -> str:
    steps = [
        f".{one.key.decode('utf-8', 'replace')}" if one.is_object else f"[{one.index}]"
        for one in around
    ]
    return "".join(steps).removeprefix(".")
