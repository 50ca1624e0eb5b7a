"""What an exchange has tried so far, and what to tell its client when nothing is left."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote

import trio

from llmlb.accounting import NOTHING_TOLD, Lease, Usage
from llmlb.actors.admission import (
    CapacityExceeded,
    Closed,
    ModelUnknown,
    NoneCapable,
    RateLimited,
    Ready,
    Refusal,
    Timeout,
)
from llmlb.errors import (
    LbError,
    ModelNotFound,
    NotFound,
    UnsupportedCapability,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from llmlb.http.access.caller import NOBODY, Caller
from llmlb.http.access.limits import Ticket
from llmlb.http.downstream import Headers
from llmlb.http.intake.form import Form
from llmlb.http.tracing.trace import UNTRACED, Trace
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.http.ways import Way
from llmlb.records import MOST_TEXT_CHARS, Attempt, Decision, View
from llmlb.types import Endpoint, EndpointId

_REQUEST_MAY_BE_POISON = frozenset({500})
"""Statuses that may be the request's doing. 429, 502, 503, 504 are the endpoint's own."""

MOST_DECISIONS = 64
"""Of one request, that are remembered: more endpoints than that are seldom tried."""

_ANSWERS: Mapping[type[Refusal], str] = {
    Timeout: "timeout",
    CapacityExceeded: "line_full",
    ModelUnknown: "model_unknown",
    NoneCapable: "none_capable",
    RateLimited: "rate_limited",
    Closed: "closed",
}

_ROUTE_MISSING = frozenset({404, 405, 501})


@dataclass(slots=True)
class Trail:
    """The attempts of one exchange, in their order."""

    caller: Caller = NOBODY
    """Whoever asks."""
    ticket: Ticket | None = None
    """The place within the limits of the caller's key."""
    began_s: float = field(default_factory=trio.current_time)
    asked_model: str = ""
    """As the client named it."""
    stream: bool = False
    request_bytes: int = 0
    body: bytes | Form | None = None
    """As the client sent it, where it is to be kept."""
    model: str = ""
    """As it is asked for at present: the client's name, or a fallback's."""
    route: str = ""
    """The path that was asked for, if not every engine has it."""
    only: EndpointId | None = None
    """The one endpoint that may answer."""
    continues: bool = False
    """It goes on from what that endpoint keeps."""
    asked: Endpoint | None = None
    """The endpoint that was asked last."""
    served: str = ""
    """The model's name on the endpoint that was asked last."""
    attempts: int = 0
    waited_s: float = 0.0
    ends_at_s: float = math.inf
    """When the time is over that the client gave its request."""
    _gives_up_at_s: float | None = None
    committed: bool = False
    """Something has reached the client."""
    arrival: int | None = None
    """The place in line, which the exchange keeps however often it asks."""
    excluded: frozenset[EndpointId] = frozenset()
    """Endpoints that cannot do what is asked."""
    faults: list[UpstreamFault] = field(default_factory=list)
    """What failed before anything reached the client, of this model."""
    leases: list[Lease] = field(default_factory=list)
    """What each of them failed under."""
    decisions: list[Decision] = field(default_factory=list)
    tries: list[Attempt] = field(default_factory=list)
    """Those that were really made."""
    usage: Usage = NOTHING_TOLD
    """Of all of them together."""
    refusal: LbError | None = None
    """What the client was told instead of an answer."""
    broken: LbError | None = None
    """What ended the answer after it had begun."""
    trace: Trace = UNTRACED

    def granted(self, ready: Ready) -> None:
        """Admission has given it a lease."""
        self.waited_s += ready.waited_s
        self._decided("granted", ready.view, ready.waited_s, ready.lease, ready.on_arrival)

    def turned_away(self, refusal: Refusal | None, view: View, *, waited_s: float) -> None:
        """Admission has given it none; *view* is what there was to choose from.

        Without a *refusal* the client has left the line.
        """
        self.waited_s += waited_s
        answer = "client_left" if refusal is None else _ANSWERS[type(refusal)]
        self._decided(answer, view, waited_s)

    def _decided(
        self,
        answer: str,
        view: View,
        waited_s: float,
        lease: Lease | None = None,
        on_arrival: View | None = None,
    ) -> None:
        if len(self.decisions) < MOST_DECISIONS:
            given_to = None if lease is None else lease.endpoint.id
            waited_ms, at_ms = waited_s * 1000, (trio.current_time() - self.began_s) * 1000
            model = self.model[:MOST_TEXT_CHARS]
            self.decisions.append(
                Decision(model, at_ms, waited_ms, answer, given_to, view, on_arrival)
            )

    def turn_to(self, way: Way) -> None:
        """Begin anew with another model."""
        self.model, self.excluded = way.model, way.excluded
        self.faults.clear()
        self.leases.clear()

    def begin_trying(self, limit_s: float) -> None:
        """The first endpoint is tried now, and others may be for *limit_s*."""
        if self._gives_up_at_s is None:
            self._gives_up_at_s = trio.current_time() + limit_s

    @property
    def too_late(self) -> bool:
        """Whether no further endpoint is tried."""
        return self._gives_up_at_s is not None and trio.current_time() >= self._gives_up_at_s

    def failed(self, lease: Lease, fault: UpstreamFault) -> None:
        """The endpoint of *lease* failed before anything reached the client."""
        self.arrival = lease.arrival
        self.faults.append(fault)
        self.leases.append(lease)
        for one in self._alike:
            one.take_back()

    @property
    def tried(self) -> frozenset[EndpointId]:
        """The endpoints that have failed."""
        return frozenset(lease.endpoint.id for lease in self.leases)

    @property
    def left_s(self) -> float:
        """What is left of the client's own time."""
        return max(0.0, self.ends_at_s - trio.current_time())

    @property
    def hopeless(self) -> bool:
        """Two endpoints failed alike in a way that the request may have caused."""
        return bool(self._alike)

    @property
    def _alike(self) -> list[Lease]:
        """The attempts that failed like another one."""
        keys = [_likeness(fault) for fault in self.faults]
        return [
            lease
            for lease, key in zip(self.leases, keys, strict=True)
            if key is not None and keys.count(key) > 1
        ]

    def headers(self, endpoint: Endpoint | None = None) -> Headers:
        """What the client is told of its way: endpoint, attempts, time in line."""
        queue_ms = round(self.waited_s * 1000)
        told = [("x-llmlb-queue-ms", str(queue_ms)), ("x-llmlb-attempts", str(self.attempts))]
        if endpoint is not None:
            told[:0] = [
                ("x-llmlb-endpoint", _header_text(endpoint.name)),
                ("x-llmlb-model", _header_text(self.served)),
            ]
        if queue_ms > 0:
            told += [("x-queue-status", "queued"), ("x-queue-wait-ms", str(queue_ms))]
        return (*told, *(() if self.ticket is None else self.ticket.headers()))

    def advice(self, error: LbError) -> Headers:
        """For the SDKs, which would try again by themselves: not after we have tried elsewhere."""
        tried = self.attempts > 1 and error.http_status() in (502, 504)
        return (("x-should-retry", "false"),) if tried else ()

    @property
    def only_limited(self) -> bool:
        """All that was tried is rate limited."""
        return {fault.status for fault in self.faults} == {429}

    def error(self) -> LbError:
        """What the client is told when no endpoint is left to try."""
        statuses = {fault.status for fault in self.faults}
        if self.only_limited:
            told = [f.retry_after_s for f in self.faults if f.retry_after_s is not None]
            return UpstreamRateLimited(
                "Every endpoint that could answer this is rate limited.",
                retry_after_s=max(1, math.ceil(min(told))) if told else None,
            )
        if self.continues and statuses == {404}:
            return NotFound(
                "The endpoint does not keep this response any more.", param="previous_response_id"
            )
        if self.route and statuses <= _ROUTE_MISSING:
            return UnsupportedCapability(f"No endpoint of '{self.model}' serves {self.route}.")
        if statuses == {404}:
            return ModelNotFound(self.model)
        return _error_of(self.faults)


def _error_of(faults: Sequence[UpstreamFault]) -> LbError:
    """The last fault, in the words of our own errors."""
    last = faults[-1]
    if last.status in (401, 403):
        return UpstreamError("The endpoint refuses the key that is configured for it.")
    if all(fault.kind is FaultKind.UNREACHABLE for fault in faults):
        return UpstreamUnreachable(f"No endpoint could be reached: {last}")
    if last.kind is FaultKind.TIMEOUT:
        return UpstreamTimeout(str(last))
    return UpstreamError(str(last))


def _likeness(fault: UpstreamFault) -> str | None:
    """What makes two faults alike; None for those that no request can cause."""
    match fault.kind:
        case FaultKind.BAD_STATUS:
            return str(fault) if fault.status in _REQUEST_MAY_BE_POISON else None
        case FaultKind.BAD_ANSWER:
            return str(fault)
        case FaultKind.DISCONNECTED:
            return fault.kind.value
        case FaultKind.UNREACHABLE | FaultKind.TIMEOUT:
            return None


@lru_cache(maxsize=1024)  # names of endpoints and models, which are few
def _header_text(text: str) -> str:
    """*text* as a header value: printable ASCII as it is, the rest percent-encoded."""
    return quote(text, safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}~")
