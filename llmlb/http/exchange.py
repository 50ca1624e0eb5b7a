"""One inference request from its arrival to its end: parse, admit, relay, account."""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog
import trio

from llmlb.accounting import FinishedRequest, Lease, Outcome
from llmlb.actors.admission import Ready
from llmlb.actors.mailbox import ActorGone
from llmlb.errors import EndpointRefusal, InternalError, LbError
from llmlb.house import House
from llmlb.http.attempts import Trail
from llmlb.http.downstream import Downstream, Headers, Inbound, PeerGone
from llmlb.http.openai.request import InferenceRequest
from llmlb.http.policy import refuse_loops
from llmlb.http.reading import dialect_of, read_request, with_body
from llmlb.http.refusal import UsageRefused
from llmlb.http.relay import Patience, Relay, as_error
from llmlb.http.render import render_error
from llmlb.http.turned_away import shutting_down, turned_away
from llmlb.http.upstream.client import INSTANCE_HEADER, UpstreamClient
from llmlb.http.upstream.faults import UpstreamFault
from llmlb.http.vision.capability import endpoints_without
from llmlb.http.vision.gate import ImageGate
from llmlb.routing import admission_control
from llmlb.types import Api, Capability, Endpoint

log = structlog.get_logger()

_TO_ENDPOINT = ("content-type", "accept", "traceparent", "tracestate", INSTANCE_HEADER)
"""Of the client's headers, what an endpoint gets to see. Never a credential."""

_WITH_IMAGES = frozenset({Api.CHAT_COMPLETIONS, Api.RESPONSES, Api.MESSAGES})

_NEEDS = {
    Api.IMAGE_GENERATIONS: Capability.IMAGE_GENERATION,
    Api.SPEECH: Capability.AUDIO_SPEECH,
}
"""What a model has to be able to do for a route."""

_NOT_EVERYWHERE = frozenset({Api.RESPONSES, Api.RERANK, *_NEEDS})
"""Routes that some engines lack, so that their 404 need not mean the model."""


@dataclass(slots=True)
class Exchange:
    """The core of every inference route, the same for every face.

    Whatever it holds (lease, upstream call) is held in the scope of `serve`, so that it is
    given back however that ends.
    """

    house: House
    client: UpstreamClient
    images: ImageGate
    instance_id: str
    _unmetered: set[tuple[str, str]] = field(default_factory=set)
    """Endpoints (id, URL) that refuse to be asked for usage; bounded by their number."""

    async def serve(self, api: Api, inbound: Inbound, downstream: Downstream) -> None:
        """Answer *inbound*. Raises nothing but what cancels the task, and PeerGone."""
        trail = Trail()
        ours = (("x-request-id", inbound.request_id),)
        try:
            await self._serve(api, inbound, downstream, trail)
        except LbError as error:
            refusal = error
        except PeerGone:
            raise
        except ActorGone:
            refusal = shutting_down()
        except Exception as error:  # a fault of ours is one client's 500, not the end of the server
            log.exception("an exchange failed", request_id=inbound.request_id, error=repr(error))
            refusal = InternalError(
                f"Something went wrong inside the balancer (request id {inbound.request_id})."
            )
        else:
            return
        if trail.committed:
            downstream.abort()
            return
        told = dialect_of(api).error_body(refusal, inbound.request_id)
        head, body = render_error(refusal, (*ours, *trail.headers()), told)
        await downstream.begin(head)
        await downstream.send(body)

    async def _serve(
        self, api: Api, inbound: Inbound, downstream: Downstream, trail: Trail
    ) -> None:
        refuse_loops(inbound.headers, self.instance_id)
        request = read_request(api, inbound.path, inbound.body)
        trail.model = request.model
        trail.route = request.path if api in _NOT_EVERYWHERE else ""
        if not self.house.open:
            raise shutting_down()
        offering = self.house.registry.catalog.offering(request.model)
        if (needed := _NEEDS.get(api)) is not None:
            trail.excluded |= endpoints_without(needed, request.model, offering)
        if api not in _WITH_IMAGES:
            await self._try_endpoints(request, inbound, downstream, trail)
            return
        async with self.images.settled(request.body, request.model, offering) as settled:
            trail.excluded |= settled.without
            if settled.body is not request.body:
                request = with_body(request, settled.body)
            await self._try_endpoints(request, inbound, downstream, trail)

    async def _try_endpoints(
        self, request: InferenceRequest, inbound: Inbound, downstream: Downstream, trail: Trail
    ) -> None:
        """Give one endpoint after the other its chance, until one has answered."""
        while True:
            with await self._admitted(request, trail) as lease:
                try:
                    await self._attempt(lease, request, inbound, downstream, trail)
                except UpstreamFault as fault:
                    self._look_into(lease.endpoint, fault)
                    if trail.committed:
                        return
                    trail.failed(lease, fault)
                    if trail.hopeless:
                        raise trail.error() from None
                else:
                    return

    async def _admitted(self, request: InferenceRequest, trail: Trail) -> Lease:
        """A lease for *request*, after as long in line as the settings allow."""
        settings, asked_at_s = self.house.settings, trio.current_time()
        result = await self.house.admission.wait_for_ready_with_timeout(
            request.model,
            request.api,
            settings.queue_max,
            max(0.0, settings.queue_timeout_s - trail.waited_s),
            excluding=trail.excluded,
            decide=admission_control,
            arrival=trail.arrival,
        )
        # No await from here to the caller's `with`: a lease is held the moment it is given.
        if isinstance(result, Ready):
            trail.waited_s += result.waited_s
            return result.lease
        trail.waited_s += trio.current_time() - asked_at_s
        raise trail.error() if trail.faults else turned_away(result, request.model, settings)

    async def _attempt(
        self,
        lease: Lease,
        request: InferenceRequest,
        inbound: Inbound,
        downstream: Downstream,
        trail: Trail,
    ) -> None:
        """One endpoint's chance. Raises UpstreamFault, EndpointRefusal, PeerGone."""
        endpoint = lease.endpoint
        trail.attempts += 1
        relay = Relay(
            self.client,
            endpoint,
            request,
            downstream,
            self._patience(endpoint),
            outgoing=_outgoing(inbound),
            own_headers=(
                ("x-request-id", inbound.request_id),
                *trail.headers(endpoint),
                *_notes(request),
            ),
            metered=(endpoint.id, endpoint.base_url) not in self._unmetered,
        )
        started_s = trio.current_time()
        failure: UpstreamFault | None = None
        try:
            await self._run(relay)
        except EndpointRefusal:
            lease.outcome = Outcome.REFUSED
            raise
        except UpstreamFault as fault:
            lease.outcome = Outcome.FAILED
            failure = fault
        finally:
            if relay.delivered_at_s is not None:
                lease.outcome = Outcome.SUCCEEDED  # also if the client left the moment it had all
            trail.committed = relay.committed
            self._account(lease, request, relay, started_s)
        if failure is None:
            return
        if relay.committed:
            lease.release()  # a client that does not read holds up no endpoint
            await relay.end_with(as_error(failure))
        raise failure

    async def _run(self, relay: Relay) -> None:
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
        self, lease: Lease, request: InferenceRequest, relay: Relay, started_s: float
    ) -> None:
        """Tell what became of the attempt. Synchronous: it runs while being cancelled, too."""
        first_s = relay.first_token_at_s
        ended_s = trio.current_time() if relay.delivered_at_s is None else relay.delivered_at_s
        self.house.finished(
            lease.endpoint,
            FinishedRequest(
                endpoint_id=lease.endpoint.id,
                model=request.model,
                api=request.api,
                outcome=lease.outcome,
                finished_at=self.house.world.now(),
                duration_ms=(ended_s - started_s - relay.client_s) * 1000,
                time_to_first_token_ms=None if first_s is None else (first_s - started_s) * 1000,
                usage=relay.usage,
            ),
        )

    def _look_into(self, endpoint: Endpoint, fault: UpstreamFault) -> None:
        """Let the probes find out what *fault* says of the endpoint."""
        log.warning(
            "an endpoint failed a request",
            endpoint=endpoint.name,
            kind=fault.kind.value,
            reason=str(fault),
        )
        if fault.status in (401, 403):
            self.house.refused_us(
                endpoint, f"It refuses our key for inference (HTTP {fault.status})."
            )
        elif fault.status == 404:
            self.house.suspect(endpoint, resync=True)
        elif fault.status is None:
            self.house.suspect(endpoint)

    def _patience(self, endpoint: Endpoint) -> Patience:
        settings = self.house.settings
        return Patience(
            whole_s=endpoint.inference_timeout_s,
            first_token_s=max(settings.first_token_timeout_s, endpoint.inference_timeout_s),
            token_gap_s=settings.token_gap_timeout_s,
            stream_s=settings.stream_timeout_s,
        )


def _outgoing(inbound: Inbound) -> Headers:
    passed = ((name, inbound.headers[name]) for name in _TO_ENDPOINT if name in inbound.headers)
    return (*passed, ("x-request-id", inbound.request_id))


def _notes(request: InferenceRequest) -> Headers:
    """What the client is told of what could not be passed on."""
    return (("x-llmlb-notes", "; ".join(request.notes)),) if request.notes else ()
