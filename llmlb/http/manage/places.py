"""How many of all who follow the events may be the same person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from llmlb.accounts import UserId
from llmlb.errors import Overloaded
from llmlb.http.access.caller import Caller

MOST_OF_ONE = 32
"""Of 256: one person's forgotten pages keep nobody else out."""

FULL_RETRY_AFTER_S = 30


class Places:
    """Owns who follows by now, and how often. This machine itself is nobody in particular."""

    def __init__(self) -> None:
        self._taken = Counter[UserId]()

    @contextmanager
    def one_for(self, caller: Caller) -> Iterator[None]:
        """A place for as long as it is held. Raises Overloaded."""
        if caller.user is None:
            yield
            return
        who = caller.user.id
        if self._taken[who] >= MOST_OF_ONE:
            raise Overloaded(
                f"You follow the events {MOST_OF_ONE} times already.",
                retry_after_s=FULL_RETRY_AFTER_S,
            )
        self._taken[who] += 1
        try:
            yield
        finally:
            self._taken -= Counter({who: 1})  # whoever has none left is forgotten
