"""What becomes of a request: its lease, its outcome, its tokens, and what they add up to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

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


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an attempt that failed says of its endpoint. As it is: nothing."""

    ill: bool = False
    """It counts against its circuit."""
    cools_s: float = 0.0
    """The endpoint has asked to be given nothing for so many seconds."""


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
    verdict: Verdict = Verdict()
    """Set by the holder before releasing, if it failed."""
    _released: bool = False

    def release(self) -> None:
        if not self._released:
            self._released = True
            self._owner.give_back(self.serial, self.outcome, self.verdict)

    def begun(self) -> None:
        """Tell that the first piece of the answer is there, and good."""
        if not self._released:
            self._owner.begun(self.serial)

    def take_back(self) -> None:
        """The request is at fault, not the endpoint, though it failed. Also once released."""
        self.verdict = Verdict()
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


@dataclass(frozen=True, slots=True)
class Usage:
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


@dataclass(frozen=True, slots=True)
class FinishedRequest:
    """What is recorded of one attempt on one endpoint."""

    endpoint_id: EndpointId
    model: str
    api: Api
    outcome: Outcome
    finished_at: datetime
    duration_ms: float
    time_to_first_token_ms: float | None = None
    usage: Usage = NOTHING_TOLD


@dataclass(frozen=True, slots=True)
class Totals:
    """What an endpoint (or one model of it, on one day) has done so far."""

    total_requests: int = 0
    successful_requests: int = 0
    failed_requests: int = 0
    cancelled_requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    total_duration_ms: float = 0.0
    """Of the successful ones."""

    def plus(self, request: FinishedRequest) -> Totals:
        """These totals with one more request."""
        succeeded = request.outcome is Outcome.SUCCEEDED
        return Totals(
            total_requests=self.total_requests + 1,
            successful_requests=self.successful_requests + succeeded,
            failed_requests=self.failed_requests
            + (request.outcome in (Outcome.FAILED, Outcome.REFUSED)),
            cancelled_requests=self.cancelled_requests + (request.outcome is Outcome.CANCELLED),
            input_tokens=self.input_tokens + (request.usage.input_tokens or 0),
            output_tokens=self.output_tokens + (request.usage.output_tokens or 0),
            total_tokens=self.total_tokens + request.usage.total,
            total_duration_ms=self.total_duration_ms + (request.duration_ms if succeeded else 0.0),
        )

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            *(getattr(self, name) + getattr(other, name) for name in Totals.__dataclass_fields__)
        )
