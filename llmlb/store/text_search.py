"""How a text is looked for within the texts of a column."""

from __future__ import annotations

import re

from pypika import CustomFunction
from pypika.terms import Term

from llmlb.store.columns import Value
from llmlb.store.sql import VALUE

MOST_SEARCHED_CHARS = 200
"""SQLite refuses patterns of more than 50,000 bytes, as it would refuse if it were in trouble."""

# As a function LIKE takes the character that says that the next one is meant as it is; PyPika's
# own operator does not know it.
_LIKE = CustomFunction("LIKE", ["pattern", "text", "escape"])
_ESCAPE = "\\"


def holds(field: Term) -> Term:
    """Whether a text is somewhere in *field*, without regard to the case of ASCII letters."""
    like: Term = _LIKE(VALUE, field, VALUE)
    return like == VALUE


def part(text: str) -> tuple[Value, ...]:
    """What `holds` is to be given to look for *text*."""
    literal = re.sub(r"[\\%_]", lambda special: _ESCAPE + special[0], text)
    return (f"%{literal}%", _ESCAPE, 1)


def beginning(text: str) -> tuple[Value, ...]:
    """The same, at the beginning alone."""
    pattern, *rest = part(text)
    return (str(pattern).removeprefix("%"), *rest)
