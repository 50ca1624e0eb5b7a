"""What becomes of a request: its lease, its outcome, its tokens, and what they add up to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from msgspec import Struct

from llmlb.types import Api, Endpoint, EndpointId

if TYPE_CHECKING:
    from typing import Self


class Outcome(StrEnum):
    """How an attempt on one endpoint ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    """The client left, or the server stopped: says nothing of the endpoint."""
    REFUSED = "refused"
    """The endpoint found fault with the request itself."""


class Verdict(Struct, frozen=True, gc=False):
    """What an attempt that failed says of its endpoint. As it is: nothing."""

    ill: bool = False
    """It counts against its circuit."""
    cools_s: float = 0.0
    """The endpoint has asked to be given nothing for so many seconds."""


NO_FAULT = Verdict()


class LeaseOwner(Protocol):
    """Whoever grants leases, as far as a lease speaks to it. Nothing of it blocks."""

    def give_back(self, serial: int, outcome: Outcome, verdict: Verdict) -> None:
        """Lease *serial* is over."""
        ...

    def begun(self, serial: int) -> None:
        """The first piece of the answer to *serial* is there, and good."""
        ...

    def taken_back(self, serial: int, endpoint_id: EndpointId) -> None:
        """That *serial*, which has been given back, failed on that endpoint says nothing of it."""
        ...


@dataclass(slots=True, eq=False)
class Lease:
    """The right to run one request on one endpoint, held by one exchange.

    A context manager. Releasing is synchronous, so that it works in a task that is being
    cancelled, and only the first release counts.
    """

    serial: int
    endpoint: Endpoint
    model: str
    """The endpoint's own id of the model that is asked for."""
    arrival: int
    """Place in the order of arrival; an exchange that asks again keeps it."""
    _owner: LeaseOwner = field(repr=False)
    outcome: Outcome = Outcome.CANCELLED
    """Set by the holder before releasing."""
    verdict: Verdict = NO_FAULT
    """Set by the holder before releasing, if it failed."""
    awaited: bool = True
    """Whether anything depends on its answer's beginning; if not, nobody is told of that."""
    _released: bool = False

    def release(self) -> None:
        if not self._released:
            self._released = True
            self._owner.give_back(self.serial, self.outcome, self.verdict)

    def begun(self) -> None:
        """Tell that the first piece of the answer is there, and good."""
        if self.awaited and not self._released:
            self._owner.begun(self.serial)

    def take_back(self) -> None:
        """The request is at fault, not the endpoint, though it failed. Also once released."""
        self.verdict = NO_FAULT
        if self._released:
            self._owner.taken_back(self.serial, self.endpoint.id)

    def hand_over(self) -> Lease:
        """The same right, held by somebody else from now on: releasing this one does nothing."""
        self._released = True
        return replace(self, _released=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.release()


class Usage(Struct, frozen=True, gc=False):
    """Tokens, as the endpoint counted them; None where it did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    estimated: bool = False
    """Nobody told the output: it is what came, as one token an event."""

    @property
    def total(self) -> int:
        """The total said, else the sum of the parts."""
        if self.total_tokens is not None:
            return self.total_tokens
        return (self.input_tokens or 0) + (self.output_tokens or 0)

    def __add__(self, other: Usage) -> Usage:
        """Of two attempts together; what neither told stays unknown."""
        if self == NOTHING_TOLD:
            return other
        if other == NOTHING_TOLD:
            return self
        return Usage(
            _sum(self.input_tokens, other.input_tokens),
            _sum(self.output_tokens, other.output_tokens),
            self.total + other.total,
            self.estimated or other.estimated,
        )


NOTHING_TOLD = Usage()


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)


def tokens_per_s(
    usage: Usage, duration_ms: float, time_to_first_token_ms: float | None
) -> float | None:
    """Output tokens per second after the first, of a stream that came to its end.

    None where that cannot be said: of one token there is no rate, and of those that came within
    a millisecond nobody knows when they were made.
    """
    tokens = usage.output_tokens
    if tokens is None or tokens < 2 or time_to_first_token_ms is None:
        return None
    making_ms = duration_ms - time_to_first_token_ms
    return (tokens - 1) / making_ms * 1000 if making_ms >= 1 else None


class FinishedRequest(Struct, frozen=True, gc=False):
    """What is recorded of one attempt on one endpoint."""

    endpoint_id: EndpointId
    model: str
    api: Api
    outcome: Outcome
    finished_at: datetime
    duration_ms: float
    time_to_first_token_ms: float | None = None
    usage: Usage = NOTHING_TOLD
    stream: bool = False

    @property
    def speed(self) -> Speed:
        """How fast it was; only of one that succeeded does that say something."""
        if not self.stream:  # all of a plain answer comes at once: it has no first token
            return Speed(self.duration_ms)
        first_ms = self.time_to_first_token_ms
        return Speed(
            self.duration_ms, first_ms, tokens_per_s(self.usage, self.duration_ms, first_ms)
        )


class Speed(NamedTuple):
    """How fast one attempt was. None: it has no such thing, or nobody could tell."""

    latency_ms: float
    time_to_first_token_ms: float | None = None
    tokens_per_s: float | None = None


class Totals(Struct, frozen=True, gc=False):
    """What a number of attempts, or of clients' requests, add up to.

    All are the successful, the failed and the cancelled ones together.
    """

    total_requests: int = 0
    successful_requests: int = 0
    failed_requests: int = 0
    """The refused ones are among them."""
    cancelled_requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    total_duration_ms: float = 0.0
    """Of the successful ones."""
    refused_requests: int = 0
    """The request itself was at fault."""
    estimated_tokens: int = 0
    """Of the output: those that nobody told, and that were counted as they came."""
    timed_output_tokens: int = 0
    """Of the successful ones: those that were made in the total duration."""

    @classmethod
    def of(cls, outcome: Outcome, duration_ms: float, usage: Usage) -> Totals:
        """What one attempt, or one request, comes to."""
        succeeded, output = outcome is Outcome.SUCCEEDED, usage.output_tokens or 0
        refused = outcome is Outcome.REFUSED
        return cls(
            1,
            int(succeeded),
            int(refused or outcome is Outcome.FAILED),
            int(outcome is Outcome.CANCELLED),
            usage.input_tokens or 0,
            output,
            usage.total,
            duration_ms if succeeded else 0.0,
            int(refused),
            output if usage.estimated else 0,
            output if succeeded else 0,
        )

    @classmethod
    def of_tokens(cls, usage: Usage) -> Totals:
        """Tokens alone, of a request that is counted elsewhere."""
        output = usage.output_tokens or 0
        return cls(
            input_tokens=usage.input_tokens or 0,
            output_tokens=output,
            total_tokens=usage.total,
            estimated_tokens=output if usage.estimated else 0,
        )

    def plus(self, request: FinishedRequest) -> Totals:
        """These totals with one more attempt."""
        return self + Totals.of(request.outcome, request.duration_ms, request.usage)

    def __add__(self, other: Totals) -> Totals:
        # written out, for it is on the path of every request
        return Totals(
            self.total_requests + other.total_requests,
            self.successful_requests + other.successful_requests,
            self.failed_requests + other.failed_requests,
            self.cancelled_requests + other.cancelled_requests,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.total_tokens + other.total_tokens,
            self.total_duration_ms + other.total_duration_ms,
            self.refused_requests + other.refused_requests,
            self.estimated_tokens + other.estimated_tokens,
            self.timed_output_tokens + other.timed_output_tokens,
        )

    @property
    def mean_duration_ms(self) -> float | None:
        """Of the successful ones; None: there are none."""
        return (
            self.total_duration_ms / self.successful_requests if self.successful_requests else None
        )

    @property
    def mean_tokens_per_s(self) -> float | None:
        """Output by the whole duration of what made it, the wait for the first token included."""
        if not (self.timed_output_tokens and self.total_duration_ms > 0):
            return None
        return self.timed_output_tokens / (self.total_duration_ms / 1000)


NOTHING_COUNTED = Totals()
