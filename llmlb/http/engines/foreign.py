"""How JSON from a stranger is read: whatever it holds, each of these gives a value or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

JsonObject = Mapping[str, object]

MAX_ITEMS = 10_000
"""Of any list; the rest of a longer one is not read."""
MAX_NAME_CHARS = 256
MAX_COUNT = 2**63 - 1
"""What an INTEGER column holds."""

NOTHING: JsonObject = MappingProxyType({})


def mapping(value: object) -> JsonObject:
    """*value* if it is an object, else an empty one."""
    return value if isinstance(value, dict) else NOTHING


def objects(value: object) -> list[JsonObject]:
    """The objects in *value* if it is a list, in order; what is none is left out."""
    if not isinstance(value, list):
        return []
    return [item for item in value[:MAX_ITEMS] if isinstance(item, dict)]


def name(value: object) -> str | None:
    """*value* if it can be shown and stored as a name: printable, not blank, not endless.

    A lone surrogate is not printable, so what is returned can always be encoded.
    """
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_CHARS:
        return None
    return value if value.isprintable() and value.strip() else None


def count(value: object, *, least: int = 1) -> int | None:
    """*value* if it is a whole number between *least* and what the store can hold."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if least <= value <= MAX_COUNT else None


def words(value: object) -> frozenset[str]:
    """The strings in *value* if it is a list, in lower case."""
    if not isinstance(value, list):
        return frozenset()
    return frozenset(item.lower() for item in value[:MAX_ITEMS] if isinstance(item, str))
