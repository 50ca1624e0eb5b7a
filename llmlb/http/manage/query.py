"""What the query of a management request says, and how long its answer may be looked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import trio

from llmlb.errors import InvalidRequest, StoreUnavailable
from llmlb.store.columns import instant_of
from llmlb.store.text_search import MOST_SEARCHED_CHARS

T = TypeVar("T")

PER_PAGE, MOST_PER_PAGE = 100, 500
LAST_PAGE = 1_000_000

READ_LIMIT_S = 30.0

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


def instant_in(query: Mapping[str, str], name: str) -> datetime | None:
    """The instant that *name* says, if it is said. Raises InvalidRequest."""
    said = query.get(name)
    at = instant_of(said)
    if said is not None and at is None:
        raise InvalidRequest(f"'{name}' must be an instant like 2026-03-01T12:00:00Z.", param=name)
    return at


def text_in(query: Mapping[str, str], name: str) -> str | None:
    """What *name* says that is to be looked for; None if it is nothing. Raises InvalidRequest."""
    said = query.get(name) or None
    if said is not None and len(said) > MOST_SEARCHED_CHARS:
        raise InvalidRequest(
            f"'{name}' must have {MOST_SEARCHED_CHARS} characters at most.", param=name
        )
    return said


@contextmanager
def reading(what: str, remedy: str, *, limit_s: float = READ_LIMIT_S) -> Iterator[None]:
    """Bound what is asked of the database inside. Raises StoreUnavailable."""
    try:
        with trio.fail_after(limit_s):
            yield
    except trio.TooSlowError:
        raise StoreUnavailable(f"{what} was not read within {limit_s:.0f} s: {remedy}.") from None


def whole(query: Mapping[str, str], name: str, *, default: int, most: int, least: int = 1) -> int:
    """The number that *name* is, from *least* to *most*. Raises InvalidRequest."""
    said = query.get(name)
    if said is None:
        return default
    # not int() alone: it takes "1_0" and " 1", and is slow for a million digits
    number = int(said) if re.fullmatch("[0-9]{1,9}", said) else -1
    if not least <= number <= most:
        raise InvalidRequest(f"'{name}' must be a whole number from {least} to {most}.", param=name)
    return number
