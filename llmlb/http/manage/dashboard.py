"""The routes under /dashboard that say how things are now. They read what is in memory alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from quart import Blueprint, Response, jsonify, request

from llmlb.accounting import NOTHING_COUNTED
from llmlb.errors import NotFound
from llmlb.house import House
from llmlb.http.manage.endpoint_json import (
    Figures,
    JsonObject,
    endpoint_json,
    instant,
    newest_first,
)
from llmlb.http.manage.query import MOST_PER_PAGE, Page
from llmlb.http.manage.statistics_json import (
    counts_json,
    history_json,
    rounded,
    sample_json,
    tokens_json,
)
from llmlb.http.openai.models import known_models
from llmlb.types import Endpoint, EndpointId, Status


def dashboard(house: Callable[[], House]) -> Blueprint:
    """The routes, to be registered under each management prefix."""
    routes = Blueprint("dashboard", __name__)

    @routes.get("/dashboard/endpoints")
    async def dashboard_endpoints() -> Response:
        return jsonify(_endpoints(house(), _page(request.args)))

    @routes.get("/dashboard/models")
    async def dashboard_models() -> Response:
        page = _page(request.args)
        return jsonify(object="list", data=list(page.of(known_models(house().registry.catalog))))

    @routes.get("/dashboard/stats")
    async def dashboard_stats() -> Response:
        return jsonify(_stats(house()))

    @routes.get("/dashboard/request-history")
    async def dashboard_history() -> Response:
        current = house()
        return jsonify(history_json(current.journal.last_hour(current.world.now())))

    @routes.get("/dashboard/overview")
    async def dashboard_overview() -> Response:
        current, page = house(), _page(request.args)
        began_s, now = current.world.clock(), current.world.now()
        shown: JsonObject = {
            "endpoints": _endpoints(current, page),
            "stats": _stats(current),
            "history": history_json(current.journal.last_hour(now)),
            "endpoint_tps": [
                _tps(current, endpoint)
                for endpoint in page.of(newest_first(current.registry.catalog))
            ],
            "generated_at": instant(now),
        }
        taken_ms = (current.world.clock() - began_s) * 1000
        return jsonify(**shown, generation_time_ms=rounded(taken_ms))

    @routes.get("/dashboard/metrics/<endpoint_id>")
    async def dashboard_metrics(endpoint_id: str) -> Response:
        current, known = house(), EndpointId(endpoint_id.lower())
        if known not in current.registry.catalog.endpoints:
            raise NotFound("There is no endpoint with this id.")
        return jsonify([_metrics(current, known)])

    return routes


def _page(query: Mapping[str, str]) -> Page:
    return Page.asked(query, default_size=MOST_PER_PAGE)


def _endpoints(house: House, page: Page) -> list[JsonObject]:
    figures = Figures.of(house)
    return [endpoint_json(e, figures) for e in page.of(newest_first(house.registry.catalog))]


def _stats(house: House) -> JsonObject:
    """Counts of endpoints, and of clients' requests."""
    endpoints = house.registry.catalog.endpoints.values()
    statuses = [endpoint.status for endpoint in endpoints]
    admission, requests = house.admission.statistics(), house.journal.requests
    newest = [samples[-1].at for e in endpoints if (samples := house.latency.history(e.id))]
    return {
        "total_runtimes": len(statuses),
        "online_runtimes": statuses.count(Status.ONLINE),
        "pending_runtimes": statuses.count(Status.PENDING),
        "registering_runtimes": 0,  # registering is one step here, and nothing is ever in it
        "offline_runtimes": statuses.count(Status.OFFLINE) + statuses.count(Status.ERROR),
        **counts_json(requests),
        "total_active_requests": sum(admission.in_flight.values()),
        "queued_requests": sum(admission.waiting.values()),
        "average_response_time_ms": rounded(requests.mean_duration_ms),
        "last_metrics_updated_at": instant(_latest(newest)),
        "last_registered_at": instant(_latest([e.registered_at for e in endpoints])),
        "last_seen_at": instant(_latest([e.last_seen_at for e in endpoints])),
        # there are no cloud endpoints yet, and so no keys of theirs
        "openai_key_present": False,
        "google_key_present": False,
        "anthropic_key_present": False,
        **tokens_json(requests),
    }


def _tps(house: House, endpoint: Endpoint) -> JsonObject:
    totals = house.journal.totals.get(endpoint.id, NOTHING_COUNTED)
    return {
        "endpoint_id": endpoint.id,
        "model_count": len(endpoint.models),
        "aggregate_tps": rounded(totals.mean_tokens_per_s),
        "total_output_tokens": totals.output_tokens,
        "total_requests": totals.total_requests,
    }


def _metrics(house: House, endpoint_id: EndpointId) -> JsonObject:
    """How one endpoint does. Its processor and memory are not asked for by anybody."""
    totals = house.journal.totals.get(endpoint_id, NOTHING_COUNTED)
    return {
        "endpoint_id": endpoint_id,
        "cpu_usage": None,
        "memory_usage": None,
        "active_requests": house.admission.statistics().in_flight.get(endpoint_id, 0),
        "total_requests": totals.total_requests,
        "average_response_time_ms": rounded(totals.mean_duration_ms),
        "timestamp": instant(house.world.now()),
        "samples": [sample_json(sample) for sample in house.latency.history(endpoint_id)],
    }


def _latest(instants: Iterable[datetime | None]) -> datetime | None:
    return max((at for at in instants if at is not None), default=None)
