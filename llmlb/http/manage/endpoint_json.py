"""How an endpoint looks to an operator: everything but its secrets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from llmlb.accounting import Totals
from llmlb.actors.admission import EndpointHealth
from llmlb.types import DeviceInfo, Endpoint, EndpointId, Mode, Model, Status

if TYPE_CHECKING:
    from llmlb.actors.admission import AdmissionStatistics
    from llmlb.catalog import Catalog
    from llmlb.house import House
    from llmlb.routing import Standings

JsonObject = dict[str, object]


@dataclass(frozen=True, slots=True)
class Figures:
    """What the actors publish about endpoints beside the catalog, as of one moment."""

    standings: Standings
    admission: AdmissionStatistics
    totals: Mapping[EndpointId, Totals]

    @classmethod
    def of(cls, house: House) -> Figures:
        return cls(house.latency.standings, house.admission.statistics(), house.journal.totals)

    def inflight(self, endpoint: Endpoint) -> int:
        """How many requests run there."""
        return self.admission.in_flight.get(endpoint.id, 0)

    def drained(self, endpoint: Endpoint) -> bool:
        """Nothing runs there, and nothing more will.

        A request that admission has not looked at yet may have come before the drain, so an
        unread mailbox means: not certain yet.
        """
        closed = endpoint.mode is not Mode.ENABLED
        return closed and not self.inflight(endpoint) and not self.admission.mailbox.waiting

    def latency_ms(self, endpoint: Endpoint) -> float | None:
        """The EMA in ms; None: not measured, or offline."""
        measured = self.standings.latency_ms(endpoint.id)
        if measured is None or math.isinf(measured) or endpoint.status is Status.OFFLINE:
            return None
        return round(measured, 3)


def newest_first(catalog: Catalog) -> list[Endpoint]:
    """All endpoints, in the order in which operators see them."""
    # The sort is stable, so of those registered at one instant the later one comes first.
    every = reversed(tuple(catalog.endpoints.values()))
    return sorted(every, key=lambda e: e.registered_at, reverse=True)


def endpoint_json(endpoint: Endpoint, figures: Figures) -> JsonObject:
    """An EndpointResponse. Of secrets it tells only that they are there."""
    totals = figures.totals.get(endpoint.id, Totals())
    return {
        "id": endpoint.id,
        "name": endpoint.name,
        "base_url": endpoint.base_url,
        "status": endpoint.status.value,
        "mode": endpoint.mode.value,
        "engine": None if endpoint.engine is None else endpoint.engine.value,
        "health_check_interval_secs": _seconds(endpoint.health_check_interval_s),
        "inference_timeout_secs": _seconds(endpoint.inference_timeout_s),
        "latency_ms": figures.latency_ms(endpoint),
        "last_seen": instant(endpoint.last_seen_at),
        "last_error": endpoint.last_error,
        "error_count": endpoint.error_count,
        "registered_at": instant(endpoint.registered_at),
        "notes": endpoint.notes,
        "native_apis": sorted(endpoint.native_apis),
        "device_info": _device_json(endpoint.device_info),
        "device_note": endpoint.device_note,
        "has_api_key": endpoint.api_key is not None,
        "extra_header_names": [name for name, _ in endpoint.extra_headers],
        "tls_verify": endpoint.tls_verify,
        # not the text itself, which is no secret, but would be most of a list of endpoints
        "has_ca_certificate": endpoint.ca_certificate is not None,
        "model_aliases": dict(endpoint.model_aliases),
        "model_capabilities": {
            model_id: sorted(c.value for c in capabilities)
            for model_id, capabilities in endpoint.model_capabilities
        },
        "declared": endpoint.declared,
        "inflight": figures.inflight(endpoint),
        "drained": figures.drained(endpoint),
        "circuit": _circuit_json(figures.admission.health.get(endpoint.id, EndpointHealth())),
        "max_concurrency": endpoint.capacity,
        "max_concurrency_assumed": endpoint.capacity_is_assumed,
        "model_count": len(endpoint.models),
        "total_requests": totals.total_requests,
        "successful_requests": totals.successful_requests,
        "failed_requests": totals.failed_requests,
        "cancelled_requests": totals.cancelled_requests,
        "total_input_tokens": totals.input_tokens,
        "total_output_tokens": totals.output_tokens,
        "total_tokens": totals.total_tokens,
    }


def models_json(endpoint: Endpoint) -> list[JsonObject]:
    """The models that it lists, in its own order."""
    return [_model_json(model) for model in endpoint.models]


def _model_json(model: Model) -> JsonObject:
    return {
        "model_id": model.id,
        "capabilities": sorted(c.value for c in model.capabilities),
        "max_tokens": model.max_tokens,
    }


def _circuit_json(health: EndpointHealth) -> JsonObject:
    return {
        "state": health.state.value,
        "failures_in_a_row": health.failures,
        "opens_in_secs": round(health.opens_s, 3),
        "cooling_secs": round(health.cools_s, 3),
    }


def _device_json(device: DeviceInfo | None) -> JsonObject | None:
    if device is None:
        return None
    return {
        "device_type": device.device_type.value,
        "gpu_devices": [
            {
                "name": gpu.name,
                "total_memory_bytes": gpu.total_memory_bytes,
                "used_memory_bytes": gpu.used_memory_bytes,
            }
            for gpu in device.gpu_devices
        ],
    }


def instant(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, with Z."""
    if at is None:
        return None
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _seconds(duration_s: float) -> float:
    """Whole seconds as a whole number."""
    return int(duration_s) if float(duration_s).is_integer() else duration_s
