"""Where a member of a JSON object stands in its text.

Parsing a body and writing it again would copy every image in it several times, and would change
numbers and escapes that are not ours to change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice

from llmlb.errors import InvalidRequest
from llmlb.http.splicing import Edit

TOKEN = re.compile(
    rb"([^\"\[\]{}]*+)"  # numbers, literals, white space, commas
    rb"(?:\"([^\"\\]*+(?:\\.[^\"\\]*+)*+)\"([ \t\r\n]*+:)?|([\[\]{}]))",
    re.DOTALL,
)
"""The next string (a member's name if a colon follows it) or bracket of a JSON text."""

_BLANKS = re.compile(rb"[ \t\r\n]*+")
_LITERAL = re.compile(rb"[^,\]} \t\r\n]*+")

_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")

MAX_TOKENS = 1_000_000
"""Of one body that is looked through: about half a second of work, in which nobody else is served.
A long chat has some ten thousand."""

Span = tuple[int, int]


class _Tokens:
    """The tokens of one text, of which there may be so many and no more."""

    def __init__(self, text: bytes) -> None:
        self._text, self._left = text, MAX_TOKENS

    def at(self, place: int) -> re.Match[bytes] | None:
        """The first token from *place* on. Raises InvalidRequest for one too many."""
        self._left -= 1
        if self._left < 0:
            raise InvalidRequest(f"The request body holds more than {MAX_TOKENS:,} values.")
        return TOKEN.match(self._text, place)


def values_of(text: bytes, name: str) -> list[Span]:
    """The value of each member *name* of the outermost object, in order.

    *text* is taken to be valid JSON; in one that is not, what comes before the fault is found.
    Raises InvalidRequest for a text of too many values.
    """
    tokens = _Tokens(text)
    wanted = name.encode()
    quoted = b'"%s"' % wanted
    escaped = letters_escaped(text)  # the name may be written in another way
    found: list[Span] = []
    depth = at = 0
    next_at = text.find(quoted)
    # Usually the member comes first, and once: then the rest is not looked at.
    while (escaped or next_at >= 0) and (token := tokens.at(at)) is not None:
        at = token.end()
        if token[4] is not None:
            depth += 1 if token[4] in b"{[" else -1
        elif depth == 1 and token[3] is not None and _unescaped(token[2]) == wanted:
            start = at + _length(_BLANKS, text, at)
            at = _end_of_value(text, start, tokens)
            found.append((start, at))
        if 0 <= next_at < at:
            next_at = text.find(quoted, at)
    return found


def letters_escaped(text: bytes) -> bool:
    """Whether a letter or an underscore may be spelled as an escape in *text*."""
    return text.find(b"\\") >= 0 and _ESCAPED_LETTER.search(text) is not None


@cache
def _in_any_case(name: str) -> Callable[[bytes], Iterator[re.Match[bytes]]]:
    """What finds *name* in quotes. IGNORECASE would try each byte; this one looks for a quote."""
    letters = "".join(f"[{letter.lower()}{letter.upper()}]" for letter in name)
    return re.compile(f'"{letters}"'.encode()).finditer


def is_named_twice(text: bytes, name: str) -> bool:
    """Whether several members of the outermost object are *name*, in whatever case.

    Readers differ in which they take, and Go's does not tell `Model` from `model`. *text* is
    taken to be valid JSON. Raises InvalidRequest like `values_of`.
    """
    wanted = name.encode()
    if not letters_escaped(text) and sum(1 for _ in islice(_in_any_case(name)(text), 2)) < 2:
        return False
    tokens = _Tokens(text)
    depth = at = found = 0
    while found < 2 and (token := tokens.at(at)) is not None:
        at = token.end()
        if token[4] is not None:
            depth += 1 if token[4] in b"{[" else -1
        elif depth == 1 and token[3] is not None and _unescaped(token[2]).lower() == wanted:
            found += 1
    return found > 1


def renaming(text: bytes, name: str, value: str) -> list[Edit]:
    """What makes *value* the value of each member *name* of the outermost object of *text*.

    Raises InvalidRequest like `values_of`.
    """
    written = json.dumps(value).encode()
    return [Edit(*span, written) for span in values_of(text, name)]


def _end_of_value(text: bytes, start: int, tokens: _Tokens) -> int:
    if text[start : start + 1] not in (b'"', b"{", b"["):
        return start + _length(_LITERAL, text, start)
    depth, at = 0, start
    while (token := tokens.at(at)) is not None:
        at = token.end() if token[4] is not None else token.end(2) + 1
        if token[4] is not None:
            depth += 1 if token[4] in b"{[" else -1
        if depth == 0:
            return at
    return len(text)


def _length(pattern: re.Pattern[bytes], text: bytes, at: int) -> int:
    match = pattern.match(text, at)
    return 0 if match is None else match.end() - at


def _unescaped(raw: bytes) -> bytes:
    if b"\\" not in raw:
        return raw
    try:
        text: str = json.loads(b'"' + raw + b'"', strict=False)
    except ValueError:
        return raw
    return text.encode("utf-8", "surrogatepass")
