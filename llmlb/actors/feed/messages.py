"""What the feed is told and asked, and what it knows of a subscriber."""

from __future__ import annotations

from dataclasses import dataclass, field

import outcome
import trio

from llmlb.actors.mailbox import Ask, MailboxStatistics
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
    """One subscriber: how far it has been told, and whether it waits."""

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
    ready: bool = False
    """It is time to tell it what it has not been told."""
    waiting: trio.lowlevel.Task | None = None

    def give_up(self, _: object) -> trio.lowlevel.Abort:
        """It does not wait any longer, and has been given nothing."""
        self.waiting = None
        return trio.lowlevel.Abort.SUCCEEDED

    def settle(self, result: outcome.Outcome[Batch]) -> None:
        """Wake it, if it waits."""
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            trio.lowlevel.reschedule(waiting, result)

    def wants(self, kind: type[Event]) -> bool:
        return self.kinds is None or kind in self.kinds


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
    """What has happened has gathered for long enough, if nothing else has been agreed since."""


@dataclass(slots=True, eq=False)
class Subscribe(Ask[tuple[Reader, bool]]):
    """The answer: a reader that has been admitted, and whether what it comes after is known."""

    after: int | None
    kinds: Kinds | None


@dataclass(frozen=True, slots=True)
class Leave:
    reader: Reader


Message = Happened | CatalogChanged | End | Look | Flush | Subscribe | Leave


@dataclass(frozen=True, slots=True)
class FeedStatistics:
    """How many are told, and how many events there have been."""

    subscribers: int
    events: int
    mailbox: MailboxStatistics
