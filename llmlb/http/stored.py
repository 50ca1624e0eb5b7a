"""Questions about a response that an endpoint keeps: show it, cancel it, delete it."""

from __future__ import annotations

from urllib.parse import parse_qs

from llmlb.errors import LbError, NotFound, ResponseStateUnavailable
from llmlb.house import House
from llmlb.http.attempts import look_into, outgoing, patience_with
from llmlb.http.cutoff import CutOff
from llmlb.http.downstream import Downstream, Inbound
from llmlb.http.inference import Call
from llmlb.http.openai.dialects import KeptDialect
from llmlb.http.openai.stored import endpoint_holding
from llmlb.http.policy import own_time_s
from llmlb.http.relay import Relay, as_error
from llmlb.http.trail import Trail
from llmlb.http.upstream.client import UpstreamClient
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.types import Endpoint

UNREACHABLE_RETRY_AFTER_S = 5


async def relay_stored(
    response_id: str,
    inbound: Inbound,
    downstream: Downstream,
    *,
    house: House,
    client: UpstreamClient,
    cut_off: CutOff,
    trail: Trail,
) -> None:
    """Pass *inbound* on to the endpoint that keeps *response_id*, and its answer back.

    It needs no lease: nothing is computed for it. Raises InvalidRequest, NotFound,
    ResponseStateUnavailable, UpstreamError, UpstreamRateLimited, UpstreamTimeout,
    EndpointRefusal, ShuttingDown, OwnTimeOver, PeerGone.
    """
    endpoint = _keeper(house, response_id, trail.caller.owner)
    trail.attempts = 1
    asked = Call(
        inbound.path,
        KeptDialect(),
        inbound.body if isinstance(inbound.body, bytes) and inbound.body else None,
        method=inbound.method,
        stream=inbound.method == "GET" and _asks_for_stream(inbound.path),
    )
    relay = Relay(
        client,
        endpoint,
        asked,
        downstream,
        patience_with(endpoint, house.settings, own_s=own_time_s(inbound.headers)),
        outgoing=outgoing(inbound, asked),
        own_headers=(("x-request-id", inbound.request_id), *trail.headers(endpoint)),
        cut_off=cut_off,
    )
    try:
        await relay.run()
    except UpstreamFault as fault:
        if fault.status == 404:
            house.response_gone(response_id)
        else:
            look_into(house, endpoint, fault)
        if not relay.committed:
            raise _as_error(fault, response_id, trail) from None
        await relay.end_with(as_error(fault))
    except LbError as error:
        if not relay.committed:
            raise
        await relay.end_with(error)
    finally:
        trail.committed = relay.committed
    if inbound.method == "DELETE":
        house.response_gone(response_id)


def _keeper(house: House, response_id: str, owner: str | None) -> Endpoint:
    catalog = house.registry.catalog
    keeper = endpoint_holding(
        response_id, owner=owner, whereabouts=house.responses.whereabouts, catalog=catalog
    )
    return catalog.endpoints[keeper]


def _asks_for_stream(path: str) -> bool:
    return parse_qs(path.partition("?")[2]).get("stream", [""])[-1].lower() in ("true", "1")


def _as_error(fault: UpstreamFault, response_id: str, trail: Trail) -> LbError:
    if fault.status == 404:
        return NotFound(f"The endpoint does not keep response '{response_id[:200]}' any more.")
    if fault.kind is FaultKind.UNREACHABLE:
        return ResponseStateUnavailable(
            "The endpoint that keeps this response cannot be reached.",
            retry_after_s=UNREACHABLE_RETRY_AFTER_S,
        )
    trail.faults.append(fault)
    return trail.error()
