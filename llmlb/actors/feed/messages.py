"""What the feed is told and asked, and what a subscriber holds of it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from llmlb.actors.mailbox import ActorGone, Ask, Mailbox, MailboxStatistics, Reply
from llmlb.catalog import Catalog
from llmlb.event_json import Told
from llmlb.events import Event, State

Kinds = frozenset[type[Event]]


@dataclass(frozen=True, slots=True)
class Batch:
    """What a subscriber has not been told yet."""

    events: tuple[Told, ...]
    dropped: int = 0
    """Events before these that it was too slow, or came back too late, for."""

    @property
    def over(self) -> bool:
        """The feed has ended, and everything has been told."""
        return not (self.events or self.dropped)


@dataclass(slots=True, eq=False)
class Reader:
    """One subscriber, as the owner sees it."""

    kinds: Kinds | None
    """That it wants to be told; None: all."""
    seq: int
    """Of the last event that it has been told, or has missed."""
    due: int = 0
    """So many events that it wants have happened since."""
    states: dict[type[State], Told] = field(default_factory=dict)
    """The newest of each, as far as it has not been told."""
    newcomer: bool = True
    """It does not know the states yet."""
    urgent: bool = False
    """There is something that it is to be told at once."""
    asking: Reply[Batch] | None = None

    def wants(self, kind: type[Event]) -> bool:
        return self.kinds is None or kind in self.kinds


class Subscription:
    """The right to be told what happens, held by one subscriber: a context manager.

    Leaving it is synchronous, so it works in a task that is being cancelled.
    """

    def __init__(self, mailbox: Mailbox[Message], reader: Reader, *, reset: bool) -> None:
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


@dataclass(frozen=True, slots=True)
class Look:
    """It is time to see how things are."""

    ticks: bool
    """It is also time to tell the totals."""


@dataclass(frozen=True, slots=True)
class Flush:
    """What comes often has gathered for long enough."""


@dataclass(slots=True, eq=False)
class Subscribe(Ask[Subscription]):
    after: int | None
    kinds: Kinds | None


@dataclass(slots=True, eq=False)
class Next(Ask[Batch]):
    reader: Reader


@dataclass(frozen=True, slots=True)
class Leave:
    reader: Reader


Message = Happened | CatalogChanged | End | Look | Flush | Subscribe | Next | Leave


@dataclass(frozen=True, slots=True)
class FeedStatistics:
    """How many are told, and how many events there have been."""

    subscribers: int
    events: int
    mailbox: MailboxStatistics
