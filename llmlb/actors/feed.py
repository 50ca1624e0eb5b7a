"""What has happened lately, and who wants to be told what happens next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from types import TracebackType
from typing import Self, assert_never

import trio

from llmlb.actors.mailbox import ActorGone, Ask, Mailbox, MailboxStatistics, Reply
from llmlb.catalog import Catalog
from llmlb.differences import differences
from llmlb.errors import Overloaded, ShuttingDown
from llmlb.events import Event, ServerStopping, Told
from llmlb.types import Endpoint, EndpointId

MOST_SUBSCRIBERS = 64
FULL_RETRY_AFTER_S = 30

KEPT_EVENTS = 256
"""So many are kept, for subscribers that come back and for those that are slow."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a subscriber has not been told yet. Without any event: the feed has ended."""

    events: tuple[Told, ...]
    dropped: int = 0
    """Events before these that it was too slow for."""


@dataclass(slots=True, eq=False)
class _Reader:
    """One subscriber, as the owner sees it."""

    seq: int
    """Of the last event that it has been told, or has missed."""
    asking: Reply[Batch] | None = None


class Subscription:
    """The right to be told what happens, held by one subscriber: a context manager.

    Leaving it is synchronous, so it works in a task that is being cancelled.
    """

    def __init__(self, mailbox: Mailbox[Message], reader: _Reader, *, reset: bool) -> None:
        self._mailbox, self._reader = mailbox, reader
        self.seq = reader.seq
        """Of the event after which it begins."""
        self.reset = reset
        """It was to go on after an event that is not known any more, so some may be missing."""

    async def next(self) -> Batch:
        """What has happened since the last time; waits for it. Raises ActorGone.

        Cancelled, it has taken nothing: the next call brings it.
        """
        return await self._mailbox.ask(Next(self._reader))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(ActorGone):
            self._mailbox.tell(Leave(self._reader))


@dataclass(frozen=True, slots=True)
class Happened:
    event: Event


@dataclass(frozen=True, slots=True)
class CatalogChanged:
    """What has happened to endpoints is found by comparing."""

    catalog: Catalog


@dataclass(frozen=True, slots=True)
class End:
    """Tell everybody that this was all."""


@dataclass(slots=True, eq=False)
class Subscribe(Ask[Subscription]):
    after: int | None


@dataclass(slots=True, eq=False)
class Next(Ask[Batch]):
    reader: _Reader


@dataclass(frozen=True, slots=True)
class Leave:
    reader: _Reader


Message = Happened | CatalogChanged | End | Subscribe | Next | Leave


@dataclass(frozen=True, slots=True)
class FeedStatistics:
    """How many are told, and how many events there have been."""

    subscribers: int
    events: int
    mailbox: MailboxStatistics


class EventFeed:
    """Owns the newest 256 events, and how far each of at most 64 subscribers has been told.

    A subscriber has no buffer of its own: all of them would hold the same events. One that is
    slow finds the oldest ones gone, and is told how many.
    """

    def __init__(
        self, known: Mapping[EndpointId, Endpoint], *, now: Callable[[], datetime]
    ) -> None:
        """*known* are the endpoints that are no news; *now* tells the wall clock (UTC)."""
        self._mailbox = Mailbox[Message]()
        self._known, self._now = known, now
        self._recent = deque[Told](maxlen=KEPT_EVENTS)
        self._last_seq = 0
        self._readers: set[_Reader] = set()
        self._ended = False

    def happened(self, event: Event) -> None:
        self._mailbox.tell(Happened(event))

    def catalog_changed(self, catalog: Catalog) -> None:
        self._mailbox.tell(CatalogChanged(catalog))

    def end(self) -> None:
        """The last event is that the server stops; nobody is told anything after it."""
        self._mailbox.tell(End())

    async def subscribe(self, after: int | None = None) -> Subscription:
        """Be told what happens from now on, or everything *after* the event of that number.

        To be entered with no await in between. Raises Overloaded if there are too many already,
        ShuttingDown after the end, ActorGone.
        """
        return await self._mailbox.ask(Subscribe(after))

    def statistics(self) -> FeedStatistics:
        return FeedStatistics(len(self._readers), self._last_seq, self._mailbox.statistics())

    def close(self) -> None:
        self._mailbox.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await self._mailbox.serve(self._handle, task_status=task_status)

    def _handle(self, message: Message) -> None:
        match message:
            case Happened(event):
                self._publish(event)
            case CatalogChanged(catalog):
                before, self._known = self._known, catalog.endpoints
                for event in differences(before, self._known):
                    self._publish(event)
            case End():
                self._publish(ServerStopping())
                self._ended = True
            case Subscribe():
                self._subscribe(message)
            case Next(reader=reader, reply=reply):
                reader.asking = reply
                self._answer(reader)
            case Leave(reader):
                self._readers.discard(reader)
            case _:
                assert_never(message)

    def _publish(self, event: Event) -> None:
        if self._ended:
            return
        self._last_seq += 1
        self._recent.append(Told(self._last_seq, self._now(), event))
        for reader in self._readers:
            self._answer(reader)

    def _subscribe(self, message: Subscribe) -> None:
        if self._ended:
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
        after = self._last_seq if message.after is None else message.after
        known = self._last_seq - len(self._recent) <= after <= self._last_seq
        reader = _Reader(after if known else self._last_seq)
        if message.reply.answer(Subscription(self._mailbox, reader, reset=not known)):
            self._readers.add(reader)

    def _answer(self, reader: _Reader) -> None:
        """Tell *reader* what it has not been told yet, if it asks, and if there is any."""
        news = self._last_seq - reader.seq
        if reader.asking is None or not (news or self._ended):
            return
        kept = min(news, len(self._recent))
        events = tuple(islice(self._recent, len(self._recent) - kept, None))
        reply, reader.asking = reader.asking, None
        if reply.answer(Batch(events, dropped=news - kept)):
            reader.seq = self._last_seq
