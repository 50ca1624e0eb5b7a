"""Who waits for what, in order of arrival."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Generic, Protocol, TypeVar


class Waiter(Protocol):
    """One parked caller."""

    @property
    def model(self) -> str: ...
    @property
    def place(self) -> int: ...
    @property
    def wanted(self) -> bool: ...


W = TypeVar("W", bound=Waiter)


class Line(Generic[W]):
    """Owns the waiters, one queue per model, each ordered by *place*.

    A waiter whose caller has left does not count, and is dropped at the next look.
    """

    def __init__(self) -> None:
        self._queues: dict[str, list[W]] = {}

    def __len__(self) -> int:
        return sum(waiter.wanted for queue in self._queues.values() for waiter in queue)

    def waiting_for(self, model: str) -> int:
        return sum(waiter.wanted for waiter in self._queues.get(model, ()))

    def by_model(self) -> dict[str, int]:
        """How many wait for each model."""
        return {model: n for model in self._queues if (n := self.waiting_for(model))}

    def models(self) -> list[str]:
        """The models waited for, the one with the oldest waiter first."""
        return sorted(self._queues, key=lambda model: self._queues[model][0].place)

    def join(self, waiter: W) -> None:
        insort(self._queues.setdefault(waiter.model, []), waiter, key=attrgetter("place"))

    def leave(self, waiter: W) -> None:
        self._keep(waiter.model, lambda other: other is not waiter)

    def prune(self, model: str) -> None:
        """Drop those whose callers have left or been answered."""
        self._keep(model, lambda waiter: waiter.wanted)

    def queue(self, model: str) -> Iterator[W]:
        """The waiters for *model*, first come first; the line may change meanwhile."""
        return iter(tuple(self._queues.get(model, ())))

    def _keep(self, model: str, wanted: Callable[[W], bool]) -> None:
        kept = [w for w in self._queues.get(model, ()) if wanted(w)]
        if kept:
            self._queues[model] = kept
        else:
            self._queues.pop(model, None)
