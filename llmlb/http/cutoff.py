"""What ends the exchanges that outlast the drain."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import trio


class CutOff:
    """Owns the scopes of what exchanges wait for; once it is over, they wait for nothing."""

    def __init__(self) -> None:
        self.over = False
        self._scopes: set[trio.CancelScope] = set()

    @contextmanager
    def scope(self, *, deadline: float = math.inf) -> Iterator[trio.CancelScope]:
        """A cancel scope that is cancelled at its *deadline*, or when the balancer stops."""
        with trio.CancelScope(deadline=deadline) as scope:
            self._scopes.add(scope)
            if self.over:
                scope.cancel()
            try:
                yield scope
            finally:
                self._scopes.discard(scope)

    def now(self) -> None:
        """End everything that is still under way. Works at any time, and a second time."""
        self.over = True
        for scope in self._scopes:
            scope.cancel()
