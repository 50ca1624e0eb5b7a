"""One endpoint's part in an exchange: the call, what became of it, and who is told."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial

import structlog
import trio

from llmlb.accounting import NOTHING_TOLD, FinishedRequest, Lease, Outcome
from llmlb.errors import EndpointRefusal, LbError
from llmlb.events import EndpointCooling
from llmlb.house import House
from llmlb.http.budget import Patience
from llmlb.http.cutoff import CutOff
from llmlb.http.downstream import Downstream, Headers, Inbound, Nobody
from llmlb.http.inference import Call, InferenceRequest
from llmlb.http.keeping import kept_reason
from llmlb.http.loads import Loads
from llmlb.http.refusal import UsageRefused
from llmlb.http.relay import Relay, as_error
from llmlb.http.trail import Trail
from llmlb.http.upstream.client import INSTANCE_HEADER, UpstreamClient
from llmlb.http.upstream.faults import UpstreamFault
from llmlb.http.verdict import verdict_on
from llmlb.records import Attempt
from llmlb.settings import Settings
from llmlb.types import Api, Endpoint

log = structlog.get_logger()

_TO_ENDPOINT = ("content-type", "accept", "traceparent", "tracestate", INSTANCE_HEADER)
"""Of the client's headers, what every endpoint gets to see. Never a credential."""

_NO_INFERENCE = frozenset({Api.COUNT_TOKENS})
"""Says nothing of how fast an endpoint answers, and costs no tokens."""


@dataclass(slots=True)
class Attempts:
    """Gives one endpoint its chance, and tells the house how it went."""

    house: House
    client: UpstreamClient
    cut_off: CutOff
    counted: bool = True
    """Whether the house hears of each attempt: it counts those for clients."""
    _loads: Loads = field(init=False)
    _unmetered: set[tuple[str, str]] = field(default_factory=set)
    """Endpoints (id, URL) that refuse to be asked for usage; bounded by their number."""

    def __post_init__(self) -> None:
        self._loads = Loads(self.house)

    async def run(
        self,
        lease: Lease,
        request: InferenceRequest,
        inbound: Inbound,
        downstream: Downstream,
        trail: Trail,
    ) -> None:
        """One attempt.

        Raises UpstreamFault, EndpointRefusal, ShuttingDown, OwnTimeOver, PeerGone, and what
        `call_to` does.
        """
        trail.attempts += 1
        trail.asked, trail.served = lease.endpoint, lease.model
        relay = self._relay_for(lease, request, inbound, downstream, trail)
        started_s = trio.current_time()
        failure: UpstreamFault | LbError | None = None
        try:
            await self._carried(relay, lease)
        except EndpointRefusal as refusal:
            lease.outcome = Outcome.REFUSED
            failure = refusal
            raise
        except UpstreamFault as fault:
            self._fail(lease, fault)
            failure = fault
        except LbError as error:  # ours, or the client's time: says nothing of the endpoint
            failure = error
        finally:
            if relay.delivered_at_s is not None:
                lease.outcome = Outcome.SUCCEEDED  # also if the client left the moment it had all
            trail.committed = relay.committed
            if trail.ticket is not None:
                trail.ticket.spent(relay.usage.total)
            self._account(lease, request, relay, trail, started_s=started_s, failure=failure)
        if failure is None:
            return
        if relay.committed:
            lease.release()  # a client that does not read holds up no endpoint
            trail.broken = as_error(failure)
            await relay.end_with(trail.broken)
        raise failure

    def _fail(self, lease: Lease, fault: UpstreamFault) -> None:
        """Hold *fault* against the endpoint of *lease*, as far as it is its own."""
        lease.outcome, lease.verdict = Outcome.FAILED, verdict_on(fault)
        if (for_s := lease.verdict.cools_s) > 0:
            endpoint = lease.endpoint
            # not in its own words: it may have quoted the request, and all may see this
            reason = f"It answered {fault.status}, and said when to come back."
            self.house.tell_event(EndpointCooling(endpoint.id, endpoint.name, reason, for_s))

    def _relay_for(
        self,
        lease: Lease,
        request: InferenceRequest,
        inbound: Inbound,
        downstream: Downstream,
        trail: Trail,
    ) -> Relay:
        """The call of one attempt. Raises what `call_to` does."""
        endpoint = lease.endpoint

        def remember(response_id: str) -> None:
            if request.remembered:
                self.house.response_made(response_id, endpoint, trail.caller.owner)

        try:
            asked = request.call_to(endpoint, lease.model, trail.model, remember)
        except LbError:
            lease.outcome = Outcome.REFUSED  # the request is at fault, and no endpoint was asked
            raise
        return Relay(
            self.client,
            endpoint,
            asked,
            downstream,
            patience_with(endpoint, self.house.settings, own_s=trail.left_s),
            outgoing=trail.trace.attempt(outgoing(inbound, asked)),
            own_headers=(
                ("x-request-id", inbound.request_id),
                *trail.headers(endpoint),
                *_notes(asked),
            ),
            cut_off=self.cut_off,
            on_begun=lease.begun,
            metered=(endpoint.id, endpoint.base_url) not in self._unmetered,
        )

    async def _carried(self, relay: Relay, lease: Lease) -> None:
        """Run *relay*; a load that it causes goes on though its client may leave."""
        if not (lease.endpoint.would_load(lease.model) and self.house.settings.load_grace_s > 0):
            await self._relayed(relay)
            return

        def abandon() -> bool:
            if relay.committed or not relay.downstream.peer_gone:
                return False
            relay.downstream = Nobody()
            return True

        await self._loads.carry(partial(self._relayed, relay), lease, abandon)

    async def _relayed(self, relay: Relay) -> None:
        """Run *relay*, a second time if its endpoint cannot be asked for usage."""
        try:
            await relay.run()
        except UsageRefused:
            relay.metered = False
        else:
            return
        self._unmetered.add((relay.endpoint.id, relay.endpoint.base_url))
        await relay.run()

    def _account(
        self,
        lease: Lease,
        request: InferenceRequest,
        relay: Relay,
        trail: Trail,
        *,
        started_s: float,
        failure: UpstreamFault | LbError | None,
    ) -> None:
        """Tell what became of the attempt. Synchronous: it runs while being cancelled, too."""
        first_s = relay.first_token_at_s
        ended_s = trio.current_time() if relay.delivered_at_s is None else relay.delivered_at_s
        duration_ms = (ended_s - started_s - relay.client_s) * 1000
        first_token_ms = None if first_s is None else (first_s - started_s) * 1000
        counts = request.api not in _NO_INFERENCE
        usage = relay.usage if counts else NOTHING_TOLD
        trail.usage += usage
        status = failure.status if isinstance(failure, UpstreamFault) else None
        if isinstance(failure, EndpointRefusal):
            status = failure.http_status()
        trail.tries.append(
            Attempt(
                lease.endpoint.id,
                lease.endpoint.name,
                lease.model,
                (started_s - trail.began_s) * 1000,
                duration_ms,
                first_token_ms,
                lease.outcome,
                status,
                None if failure is None else kept_reason(str(failure)),
                usage,
            )
        )
        if not (counts and self.counted):
            return
        self.house.finished(
            lease.endpoint,
            FinishedRequest(
                endpoint_id=lease.endpoint.id,
                model=lease.model,
                api=request.api,
                outcome=lease.outcome,
                finished_at=self.house.world.now(),
                duration_ms=duration_ms,
                time_to_first_token_ms=first_token_ms,
                usage=usage,
                stream=relay.asked.stream,
            ),
        )


def look_into(house: House, endpoint: Endpoint, fault: UpstreamFault) -> None:
    """Let the probes find out what *fault* says of the endpoint."""
    log.warning(
        "an endpoint failed a request",
        endpoint=endpoint.name,
        kind=fault.kind.value,
        reason=str(fault),
    )
    if fault.status in (401, 403):
        house.refused_us(endpoint, f"It refuses our key for inference (HTTP {fault.status}).")
    elif fault.status == 404:
        house.suspect(endpoint, resync=True)
    elif fault.status is None:
        house.suspect(endpoint)


def patience_with(endpoint: Endpoint, settings: Settings, *, own_s: float = math.inf) -> Patience:
    """How long *endpoint* may take, if the client gives it *own_s*."""
    return Patience(
        whole_s=endpoint.inference_timeout_s,
        first_token_s=max(settings.first_token_timeout_s, endpoint.inference_timeout_s),
        token_gap_s=settings.token_gap_timeout_s,
        stream_s=settings.stream_timeout_s,
        own_s=own_s,
    )


def outgoing(inbound: Inbound, asked: Call) -> Headers:
    """The headers of *asked* that come from the client, or stand for what it sent."""
    meant_for_us = {n.strip().lower() for n in inbound.headers.get("connection", "").split(",")}
    names = {*_TO_ENDPOINT, *asked.passed_on} - (meant_for_us - {INSTANCE_HEADER})
    passed = {name: inbound.headers[name] for name in sorted(names) if name in inbound.headers}
    if asked.body is None:
        passed.pop("content-type", None)
    elif asked.content_type is not None:
        passed["content-type"] = asked.content_type
    return (*passed.items(), ("x-request-id", inbound.request_id))


def _notes(asked: Call) -> Headers:
    """What the client is told of what could not be passed on."""
    return (("x-llmlb-notes", "; ".join(asked.notes)),) if asked.notes else ()
