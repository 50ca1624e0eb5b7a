"""What can be read in a file of an older installation, record by record, and why not the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid5

_NAMESPACE = UUID("6c1b3d0e-2f5a-5c7e-9a40-8f2d7be31c94")
_BLANKS = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


class Unimportable(Exception):
    """A whole file is left alone. str(error) says why, for people."""


class UnreadableRecord(Exception):
    """One record is left out. str(error) says why, for people."""


def json_values(text: str) -> Iterator[object]:
    """The elements of one array, or values one after another. Raises Unimportable."""
    try:
        at = _skip(text, 0)
        if at == len(text):
            raise Unimportable("it is empty")
        if text[at] == "[":
            yield from _elements(text, at)
            return
        while at < len(text):
            value, at = _DECODER.raw_decode(text, at)
            yield value
            at = _skip(text, at)
    except (ValueError, RecursionError) as error:
        raise Unimportable(f"it is not valid JSON: {error}") from None


def _elements(text: str, at: int) -> Iterator[object]:
    at = _skip(text, at + 1)
    more = text[at : at + 1] != "]"
    while more:
        value, at = _DECODER.raw_decode(text, at)
        yield value
        at = _skip(text, at)
        more = text[at : at + 1] == ","
        if more:
            at = _skip(text, at + 1)
    if text[at : at + 1] != "]" or _skip(text, at + 1) != len(text):
        raise ValueError(f"the array does not end as it should, at character {at}")


def _skip(text: str, at: int) -> int:
    """The next place that is not blank."""
    match = _BLANKS.match(text, at)
    return at if match is None else match.end()


def id_by_content(value: object) -> str:
    """The same id for the same record, in every file and at every start."""
    return str(uuid5(_NAMESPACE, json.dumps(value, sort_keys=True, default=str)))


def as_object(value: object) -> dict[str, Any]:
    """*value*, if it is a JSON object. Raises UnreadableRecord."""
    if not isinstance(value, dict):
        raise UnreadableRecord("it is not an object")
    return value
