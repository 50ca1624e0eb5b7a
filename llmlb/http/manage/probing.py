"""What an endpoint answers when an operator has it probed at once."""

from __future__ import annotations

import trio

from llmlb.actors.prober import ProbeReport
from llmlb.errors import (
    Conflict,
    LbError,
    NotFound,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from llmlb.house import House
from llmlb.http.manage.asking import asking
from llmlb.http.manage.endpoint_json import JsonObject
from llmlb.types import Endpoint, Mode

PROBE_LIMIT_S = 60.0
"""One probe may be under way already, and the one asked for comes after it."""


async def check_now(house: House, endpoint: Endpoint) -> JsonObject:
    """Whether it serves now. What is wrong with the endpoint is an answer, not an error.

    Raises NotFound if it is removed meanwhile, StoreUnavailable, ActorGone.
    """
    try:
        report = await _probe(house, endpoint)
    except (Conflict, UpstreamTimeout) as refusal:
        return {"success": False, "error": refusal.message}
    if report.failure is not None:
        return {"success": False, "error": report.failure}
    return {
        "success": True,
        "latency_ms": round(report.round_trip_ms, 3),
        "models_found": len(report.models),
        "endpoint_info": {"model_count": len(report.models)},
    }


async def sync_now(house: House, endpoint: Endpoint) -> JsonObject:
    """Its models, read anew, and how many of them came, went or changed.

    Raises Conflict, UpstreamError, UpstreamTimeout, UpstreamUnreachable, and like `check_now`.
    """
    report = await _probe(house, endpoint)
    if report.failure is not None:
        error = UpstreamError if report.answered else UpstreamUnreachable
        raise error(f"The models of '{endpoint.name}' could not be read: {report.failure}")
    return {
        "synced_models": [model.id for model in report.models],
        "added": report.added,
        "removed": report.removed,
        "updated": report.updated,
    }


async def _probe(house: House, endpoint: Endpoint) -> ProbeReport:
    """Probe and survey it; what was found is in the catalog on return."""
    if endpoint.mode is Mode.DISABLED:
        raise Conflict(f"'{endpoint.name}' is disabled: enable it first.")
    try:
        with trio.fail_after(PROBE_LIMIT_S):
            report = await house.prober.probe_now(endpoint.id)
    except trio.TooSlowError:
        raise UpstreamTimeout(f"The probe did not end within {PROBE_LIMIT_S:.0f} s.") from None
    except NotFound:
        raise _overtaken(house, endpoint) from None
    with asking():
        await house.registry.settled()
    return report


def _overtaken(house: House, endpoint: Endpoint) -> LbError:
    """The prober does not watch it, or not any more."""
    if endpoint.id in house.registry.catalog.endpoints:
        return Conflict(f"'{endpoint.name}' was changed during the probe: try again.")
    return NotFound("The endpoint was removed during the probe.")
