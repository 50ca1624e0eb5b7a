"""The books of a run: what clients, exchanges and endpoints did, kept apart from the balancer's."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count

import trio

from llmlb.accounting import FinishedRequest, Lease, Outcome, Usage
from llmlb.types import EndpointId
from tests.fakes.network import ServerSide
from tests.simulation.parts import Wish


@dataclass(slots=True, eq=False)
class Asking:
    """One ask of an exchange for a lease."""

    number: int
    """In the order of asking."""
    tag: str
    model: str
    equal: bool
    """It asks for the first time, and any endpoint will do."""
    fresh: bool
    """It asks for the first time."""


@dataclass(slots=True, eq=False)
class Grant:
    """One lease, and who holds it."""

    asking: Asking
    lease: Lease

    @property
    def endpoint_id(self) -> EndpointId:
        return self.lease.endpoint.id

    @property
    def held(self) -> bool:
        return not self.lease._released


@dataclass(slots=True, eq=False)
class Call:
    """One request as its endpoint sees it."""

    endpoint: str
    tag: str
    side: ServerSide
    ended: bool = False
    told: Usage | None = None
    """The usage that it has told, if it did."""
    n_events: int = 0
    """So many that say something it has sent: what is counted if it does not tell."""

    @property
    def open(self) -> bool:
        return not (self.ended or self.side.hung_up or self.side.closed_at is not None)


@dataclass(slots=True, eq=False)
class Account:
    """One client, and what became of its request."""

    wish: Wish
    sent_at_s: float
    left_at_s: float | None = None
    ended_at_s: float | None = None
    status: int | None = None
    text: str = ""
    """All content that it took."""
    whole: bool = False
    """It took a whole answer, in good order."""
    error: str | None = None
    """The code of the error that it was told, as an answer or as the last event."""
    stuck: bool = False
    """It has stopped taking pieces."""
    grants: list[Grant] = field(default_factory=list)
    finished: list[FinishedRequest] = field(default_factory=list)
    received: trio.Event = field(default_factory=trio.Event)
    """An endpoint has got it."""

    @property
    def tag(self) -> str:
        return self.wish.tag

    @property
    def stayed(self) -> bool:
        """It was there to the end, and took what there was."""
        return self.left_at_s is None and not self.stuck

    @property
    def waits_to_be_read(self) -> bool:
        """Its attempts are over, and what is left is for the client to take."""
        return self.stuck and len(self.finished) == len(self.grants)

    @property
    def outcomes(self) -> list[Outcome]:
        return [request.outcome for request in self.finished]


@dataclass(slots=True)
class Sums:
    """What an endpoint has done in any case, and what it may have done besides."""

    attempts: int = 0
    delivered: int = 0
    """Successes by the word of clients that were there to the end."""
    perhaps: int = 0
    """Answers whose clients left, or read no more."""
    sure_tokens: int = 0
    most_tokens: int = 0


current: ContextVar[Account] = ContextVar("current")
"""The client for whom this task works; set by the client, inherited by all tasks for it."""


@dataclass(slots=True)
class Ledger:
    """Everything that the invariants are about. What is over and has been checked is summed up."""

    accounts: dict[str, Account] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    asking: list[Asking] = field(default_factory=list)
    """Those that wait for an answer."""
    granted: list[Grant] = field(default_factory=list)
    """Since the last look at their order."""
    broken: list[str] = field(default_factory=list)
    """Faults of the balancer's own, from its log."""
    sums: dict[EndpointId, Sums] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count)
    """Of asks, in their order."""
    most_at_once: int = 0
    n_requests: int = 0
    n_delivered: int = 0

    def opened(self, account: Account) -> None:
        self.accounts[account.tag] = account
        self.n_requests += 1
        self.most_at_once = max(self.most_at_once, len(self.accounts))

    def began(self, call: Call) -> None:
        """An endpoint has got a request; not of interest if its client is gone by then."""
        if call.tag in self.accounts:
            self.calls.append(call)
            self.accounts[call.tag].received.set()

    def close(self, account: Account) -> None:
        """*account* is over and has been checked: only its sums are kept."""
        del self.accounts[account.tag]
        self.n_delivered += account.whole
        told = [call for call in self.calls if call.tag == account.tag]
        self.calls = [call for call in self.calls if call.tag != account.tag]
        for grant in account.grants:
            sums = self.sums.setdefault(grant.endpoint_id, Sums())
            last = grant is account.grants[-1]
            sums.attempts += 1
            sums.delivered += last and account.whole and account.stayed
            sums.perhaps += last and not account.stayed
            name = grant.lease.endpoint.name
            tokens = [c.told.total for c in told if c.endpoint == name and c.told is not None]
            sums.most_tokens += sum(
                max(c.n_events, 0 if c.told is None else c.told.total)
                for c in told
                if c.endpoint == name
            )
            if last and account.whole and account.stayed:
                sums.sure_tokens += sum(tokens[-1:])
