"""What the query of a management request says: numbers, flags, and which page of a list."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from llmlb.errors import InvalidRequest

T = TypeVar("T")

PER_PAGE, MOST_PER_PAGE = 100, 500
LAST_PAGE = 1_000_000

_FLAGS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; `number` counts from 1."""

    number: int
    size: int

    @classmethod
    def asked(cls, query: Mapping[str, str], *, default_size: int = PER_PAGE) -> Page:
        """The page that `page` and `per_page` ask for. Raises InvalidRequest."""
        return cls(
            whole(query, "page", default=1, most=LAST_PAGE),
            whole(query, "per_page", default=default_size, most=MOST_PER_PAGE),
        )

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """The part of *items* that is on this page; empty beyond the last."""
        start = (self.number - 1) * self.size
        return items[start : start + self.size]

    def listed(
        self, name: str, items: Sequence[T], shown: Callable[[T], object]
    ) -> dict[str, object]:
        """The answer to who asked for this page of *items*, each as it is *shown*."""
        return {
            name: [shown(item) for item in self.of(items)],
            "total": len(items),
            "page": self.number,
            "per_page": self.size,
        }


def flag(query: Mapping[str, str], name: str) -> bool:
    """Whether *name* is set; it is not, unless said. Raises InvalidRequest."""
    said = query.get(name, "false")
    if said not in _FLAGS:
        raise InvalidRequest(f"'{name}' must be true or false.", param=name)
    return _FLAGS[said]


def whole(query: Mapping[str, str], name: str, *, default: int, most: int) -> int:
    """The number that *name* is, from 1 to *most*. Raises InvalidRequest."""
    said = query.get(name)
    if said is None:
        return default
    # not int() alone: it takes "1_0" and " 1", and is slow for a million digits
    number = int(said) if re.fullmatch("[0-9]{1,9}", said) else 0
    if not 1 <= number <= most:
        raise InvalidRequest(f"'{name}' must be a whole number from 1 to {most}.", param=name)
    return number
