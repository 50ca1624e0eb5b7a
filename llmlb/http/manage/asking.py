"""How long an operator's request waits for registry and database, and what it says if in vain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from llmlb.errors import StoreUnavailable

ANSWER_LIMIT_S = 30.0
"""A change waits for those before it, and each for the database, which is slow only in distress."""


@contextmanager
def asking() -> Iterator[None]:
    """Bound what is asked of the registry inside. Raises StoreUnavailable."""
    try:
        with trio.fail_after(ANSWER_LIMIT_S):
            yield
    except trio.TooSlowError:
        raise StoreUnavailable(
            f"The database did not answer within {ANSWER_LIMIT_S:.0f} s. "
            "The change may still be made: look again before you repeat it."
        ) from None
