"""Who is told what: the events that are kept, and how far each subscriber has been told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge
from operator import attrgetter
from typing import get_args

import outcome

from llmlb.actors.feed.messages import Batch, Kinds, Reader
from llmlb.actors.feed.ring import Ring
from llmlb.actors.mailbox import ActorGone
from llmlb.event_json import Told
from llmlb.events import FREQUENT, Event, State

MOST_SUBSCRIBERS = 256

KEPT_EVENTS, KEPT_REQUESTS = 512, 2048
"""So many are kept, for subscribers that come back and for those that are slow: of what is rare,
and of what comes with every request."""

KEPT_BYTES = 1024 * 1024
"""At most, of what is rare. What comes with requests is short: all that clients say is cut."""

STATES: tuple[type[State], ...] = get_args(State)
_RARE: Kinds = frozenset(get_args(Event)) - {*FREQUENT, *STATES}
_by_seq = attrgetter("seq")


class Readers:
    """Owns two rings of events, and the subscribers. Knows no time, and waits for nothing.

    A subscriber has no buffer of its own: all of them would hold the same events. One that is
    slow finds the oldest ones gone, and is told how many. The feed alone writes here; a subscriber
    that is behind takes what it has not been told by itself, which moves no place but its own.
    """

    def __init__(self) -> None:
        self._rare = Ring(KEPT_EVENTS, KEPT_BYTES)
        self._frequent = Ring(KEPT_REQUESTS)
        self._readers: set[Reader] = set()
        self._batches: dict[tuple[object, ...], Batch] = {}
        """Of those who are equally far: until something changes they share one, and so all that
        is made of it."""
        self.last_seq = 0
        self.ended = False
        self._gone = False

    def __len__(self) -> int:
        return len(self._readers)

    def __iter__(self) -> Iterator[Reader]:
        return iter(self._readers)

    def join(self, after: int | None, kinds: Kinds | None) -> tuple[Reader, bool]:
        """A new subscriber, who is `admit`ted if it still wants to; False: it begins anew.

        It goes on after the event of that number, unless something rare is gone that it wants,
        or there was no such event. What came with requests may be missing: that is told.
        """
        now = self.last_seq
        if after is None:
            return Reader(kinds, now), True
        wants_rare = kinds is None or not _RARE.isdisjoint(kinds)
        if not 0 <= after <= now or (wants_rare and self._rare.lost_seq > after):
            return Reader(kinds, now), False
        reader = Reader(kinds, after)
        kept = [*self._rare.after(after), *self._frequent.after(after)]
        reader.due = sum(reader.wants(type(told.event)) for told in kept)
        wants_frequent = kinds is None or not kinds.isdisjoint(FREQUENT)
        if wants_frequent and self._frequent.lost_seq > after:
            reader.due += now - after - len(kept)  # of which kind they were is not known any more
        reader.ready = reader.due > 0
        return reader, True

    def admit(self, reader: Reader) -> None:
        self._readers.add(reader)

    def leave(self, reader: Reader) -> None:
        self._readers.discard(reader)

    def keep(self, told: Told) -> None:
        """*told* has happened; its number is the next one. Nobody is told yet."""
        kind = type(told.event)
        self.last_seq = told.seq
        (self._frequent if kind in FREQUENT else self._rare).add(told)
        self._batches.clear()
        for reader in self._readers:
            if reader.kinds is None or kind in reader.kinds:
                reader.due += 1

    def put(self, state: Told, readers: Iterable[Reader]) -> None:
        """Let *readers* be told how things are, instead of how they were."""
        kind = type(state.event)
        self._batches.clear()
        for reader in readers:
            if reader.wants(kind):
                reader.states[kind] = state  # type: ignore[index]  # it is a state
                reader.ready = True

    def tell_due(self) -> None:
        """It is time to tell everybody what has happened."""
        for reader in self._readers:
            reader.ready |= reader.due > 0
        self.wake()

    def end(self) -> None:
        """There is nothing more to come."""
        self.ended = True
        self.tell_due()

    def wake(self) -> None:
        """Hand whoever waits what it is time for; the others come for it."""
        for reader in self._readers:
            if reader.waiting is not None and (reader.ready or self.ended):
                reader.settle(outcome.Value(self.take(reader)))

    def let_go(self) -> None:
        """Nobody is told anything any more."""
        self._gone = True
        for reader in self._readers:
            reader.settle(outcome.Error(ActorGone()))

    def has_for(self, reader: Reader) -> bool:
        """Whether there is something to take at once. Raises ActorGone."""
        if self._gone:
            raise ActorGone
        return reader.ready or self.ended

    def take(self, reader: Reader) -> Batch:
        """All that *reader* has not been told yet; after the end, nothing."""
        key = (reader.seq, reader.kinds, reader.due, *reader.states)
        batch = self._batches.get(key)
        if batch is None:
            batch = self._batches[key] = self._batch(reader)
        reader.seq, reader.due, reader.ready = self.last_seq, 0, False
        if reader.states:
            reader.states = {}
        return batch

    def _batch(self, reader: Reader) -> Batch:
        kept = merge(self._rare.after(reader.seq), self._frequent.after(reader.seq), key=_by_seq)
        events = [told for told in kept if reader.wants(type(told.event))] if reader.due else []
        dropped = reader.due - len(events)
        return Batch((*events, *reader.states.values()), dropped)
