"""The feed of events: what happens is told to it, and it tells whoever follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Protocol, assert_never

import trio

from llmlb.actors.feed.messages import (
    CatalogChanged,
    End,
    FeedStatistics,
    Flush,
    Happened,
    Kinds,
    Leave,
    Look,
    Message,
    Subscribe,
)
from llmlb.actors.feed.readers import MOST_SUBSCRIBERS, STATES, Readers
from llmlb.actors.feed.subscription import Subscription
from llmlb.actors.mailbox import ActorGone, Mailbox
from llmlb.catalog import Catalog
from llmlb.differences import differences
from llmlb.errors import Overloaded, ShuttingDown
from llmlb.event_json import Told
from llmlb.events import FREQUENT, Event, LoadChanged, ServerStopping, State, StatisticsTick
from llmlb.types import Endpoint, EndpointId

FULL_RETRY_AFTER_S = 30

GATHER_S = 0.1
"""What comes with requests is told so much later, all of it at once: to wake a subscriber costs
more than to tell it a hundred events."""

LOOK_EVERY_S = 0.25
"""How often the feed sees whether the load has changed, while somebody wants to know."""

PER_SUBSCRIBER_S = 0.005
"""Both take at least so long for each subscriber: 1 s with 200."""

FEW_SUBSCRIBERS, APART_PER_SUBSCRIBER_S = 20, 0.00025
"""A rare event is told at once. With more than 20 subscribers, those that come so soon after it for
each of them (50 ms with 200) gather until then: a burst wakes everybody once or twice, and not for
each of its events."""

TICK_EVERY_S = 5.0


class Gauges(Protocol):
    """How things are now. Both are read, and ask nobody."""

    def load(self) -> LoadChanged: ...

    def totals(self) -> StatisticsTick: ...


class EventFeed:
    """Owns the newest events, and how far each of at most 256 subscribers has been told.

    While somebody wants to know how things are, a child task looks at the *gauges*, up to four
    times a second; otherwise nothing runs.
    """

    def __init__(
        self,
        known: Mapping[EndpointId, Endpoint],
        *,
        now: Callable[[], datetime],
        gauges: Gauges | None = None,
    ) -> None:
        """*known* are the endpoints that are no news; *now* tells the wall clock (UTC)."""
        self._mailbox = Mailbox[Message]()
        self._known, self._now, self._gauges = known, now, gauges
        self._readers = Readers()
        self.followed = False
        """Whether anybody has ever followed: until then nobody can have missed anything."""
        self._load: LoadChanged | None = None
        self._flush_at_s = math.inf
        """By when those who follow are told what has happened; never if they know it all."""
        self._told_at_s = -math.inf
        self._looking: trio.CancelScope | None = None
        self._timers: trio.Nursery

    def happened(self, event: Event) -> None:
        self._mailbox.tell(Happened(event))

    def catalog_changed(self, catalog: Catalog) -> None:
        self._mailbox.tell(CatalogChanged(catalog))

    def end(self) -> None:
        """The last event is that the server stops; nobody is told anything after it."""
        self._mailbox.tell(End())

    async def subscribe(self, after: int | None = None, kinds: Kinds | None = None) -> Subscription:
        """Be told what happens from now on, or everything *after* the event of that number.

        Only events of *kinds*, if they are said. To be entered with no await in between. Raises
        Overloaded if there are too many already, ShuttingDown after the end, ActorGone.
        """
        reader, known = await self._mailbox.ask(Subscribe(after, kinds))
        return Subscription(self._readers, self._mailbox, reader, reset=not known)

    def statistics(self) -> FeedStatistics:
        readers = self._readers
        return FeedStatistics(len(readers), readers.last_seq, self._mailbox.statistics())

    def close(self) -> None:
        self._mailbox.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as self._timers:
            try:
                await self._mailbox.serve(self._handle, task_status=task_status)
            finally:
                self._readers.let_go()
            self._timers.cancel_scope.cancel()

    def _handle(self, message: Message) -> None:
        match message:
            case Happened(event):
                self._publish(event)
            case CatalogChanged(catalog):
                before, self._known = self._known, catalog.endpoints
                for event in differences(before, self._known):
                    self._publish(event)
            case End():
                self._end()
            case Look(ticks):
                self._look(ticks)
            case Flush():
                self._flush()
            case Subscribe():
                self._subscribe(message)
            case Leave(reader):
                self._readers.leave(reader)
                self._look_if_wanted()
            case _:
                assert_never(message)

    # -- what happens

    def _publish(self, event: Event) -> None:
        if self._readers.ended:
            return
        self._readers.keep(Told(self._readers.last_seq + 1, self._now(), event))
        if self._readers:
            now_s = trio.current_time()
            if isinstance(event, FREQUENT):
                self._flush_by(now_s + self._paced_s(GATHER_S))
            else:
                self._flush_by(max(now_s, self._told_at_s + self._apart_s()))

    def _apart_s(self) -> float:
        many = len(self._readers)
        return APART_PER_SUBSCRIBER_S * many if many > FEW_SUBSCRIBERS else 0.0

    def _flush_by(self, at_s: float) -> None:
        if at_s >= self._flush_at_s:
            return
        self._flush_at_s = at_s
        if at_s > trio.current_time():
            self._timers.start_soon(self._flush_soon, at_s)
        else:
            self._tell_flush()  # behind all that it has been told by now: they go together

    async def _flush_soon(self, at_s: float) -> None:
        await trio.sleep_until(at_s)
        self._tell_flush()

    def _tell_flush(self) -> None:
        with suppress(ActorGone):
            self._mailbox.tell(Flush())

    def _flush(self) -> None:
        """Tell all, unless that has been done, since this was agreed, for something rarer."""
        now_s = trio.current_time()
        if now_s >= self._flush_at_s:
            self._told_at_s, self._flush_at_s = now_s, math.inf
            self._readers.tell_due()

    def _end(self) -> None:
        self._publish(ServerStopping())
        self._readers.end()
        self._look_if_wanted()

    # -- how things are

    def _look_if_wanted(self) -> None:
        """Begin to look, or stop, by whether anybody wants to know."""
        wanted = not self._readers.ended and any(
            reader.wants(kind) for reader in self._readers for kind in STATES
        )
        if wanted and self._looking is None and self._gauges is not None:
            self._looking = trio.CancelScope()
            self._timers.start_soon(self._look_again_and_again, self._looking)
        elif self._looking is not None and not wanted:
            self._looking.cancel()
            self._looking = None

    async def _look_again_and_again(self, scope: trio.CancelScope) -> None:
        with scope, suppress(ActorGone):
            ticks_at_s = trio.current_time() + LOOK_EVERY_S
            while True:
                await trio.sleep(self._paced_s(LOOK_EVERY_S))
                ticks = trio.current_time() >= ticks_at_s
                ticks_at_s += TICK_EVERY_S * ticks
                self._mailbox.tell(Look(ticks))

    def _paced_s(self, least_s: float) -> float:
        return max(least_s, PER_SUBSCRIBER_S * len(self._readers))

    def _look(self, ticks: bool) -> None:  # noqa: FBT001 - as it was told
        if self._gauges is None or self._looking is None:
            return  # it was on its way when the last one left
        newcomers = [reader for reader in self._readers if reader.newcomer]
        load = self._gauges.load()
        changed, self._load = load != self._load, load
        for state, due in ((load, changed), (None, ticks)):
            readers = self._readers if due else newcomers
            if readers:
                self._readers.put(self._state(state or self._gauges.totals()), readers)
        for reader in newcomers:
            reader.newcomer = False
        self._readers.wake()

    def _state(self, state: State) -> Told:
        return Told(self._readers.last_seq, self._now(), state)

    # -- who follows

    def _subscribe(self, message: Subscribe) -> None:
        if self._readers.ended:
            message.reply.refuse(ShuttingDown("The balancer is shutting down."))
            return
        if len(self._readers) >= MOST_SUBSCRIBERS:
            message.reply.refuse(
                Overloaded(
                    f"{MOST_SUBSCRIBERS} clients follow the events already.",
                    retry_after_s=FULL_RETRY_AFTER_S,
                )
            )
            return
        joined = self._readers.join(message.after, message.kinds)
        if message.reply.answer(joined):
            self.followed = True
            self._readers.admit(joined[0])
            self._look_if_wanted()
