"""The routes under /endpoints/{id} that tell what it has done, also if it is gone: attempts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, timedelta

from quart import Blueprint, Response, jsonify, request

from llmlb.accounting import NOTHING_COUNTED
from llmlb.errors import NotFound
from llmlb.house import House
from llmlb.http.manage.query import reading, whole
from llmlb.http.manage.statistics_json import counts_json, model_stats_json, model_tps_json
from llmlb.store.sums import By, Unit, Wanted
from llmlb.types import EndpointId

WHAT, REMEDY = "The statistics", "ask for fewer days"

MOST_DAYS = 365
DAYS = 7


def endpoint_statistics(house: Callable[[], House]) -> Blueprint:
    """The routes, to be registered under each management prefix. Days are those of UTC."""
    routes, one = Blueprint("endpoint_statistics", __name__), "/endpoints/<endpoint_id>"

    @routes.get(f"{one}/today-stats")
    async def endpoint_today(endpoint_id: str) -> Response:
        current, known = house(), _counted(house(), endpoint_id)
        today = current.world.now().astimezone(UTC).date()
        wanted = Wanted(Unit.ATTEMPTS, (By.DAY,), endpoint_id=known, since=today)
        with reading(WHAT, REMEDY):
            found = await current.journal.sums(wanted)
        date = today.isoformat()
        return jsonify(date=date, **counts_json(found.get((date,), NOTHING_COUNTED)))

    @routes.get(f"{one}/daily-stats")
    async def endpoint_days(endpoint_id: str) -> Response:
        current, known = house(), _counted(house(), endpoint_id)
        days = whole(request.args, "days", default=DAYS, most=MOST_DAYS)
        since = current.world.now().astimezone(UTC).date() - timedelta(days=days - 1)
        wanted = Wanted(Unit.ATTEMPTS, (By.DAY,), endpoint_id=known, since=since, limit=days)
        with reading(WHAT, REMEDY):
            found = await current.journal.sums(wanted)
        return jsonify(
            [{"date": day, **counts_json(totals)} for (day,), totals in reversed(found.items())]
        )

    @routes.get(f"{one}/model-stats")
    async def endpoint_models(endpoint_id: str) -> Response:
        current, known = house(), _counted(house(), endpoint_id)
        wanted = Wanted(Unit.ATTEMPTS, (By.MODEL,), endpoint_id=known)
        with reading(WHAT, REMEDY):
            found = await current.journal.sums(wanted)
        return jsonify([model_stats_json(model, totals) for (model,), totals in found.items()])

    @routes.get(f"{one}/model-tps")
    async def endpoint_model_tps(endpoint_id: str) -> Response:
        current, known = house(), _counted(house(), endpoint_id)
        wanted = Wanted(Unit.ATTEMPTS, (By.MODEL, By.API), endpoint_id=known)
        with reading(WHAT, REMEDY):
            found = await current.journal.sums(wanted)
        return jsonify([model_tps_json(model, api, t) for (model, api), t in found.items()])

    return routes


def _counted(house: House, endpoint_id: str) -> EndpointId:
    """An endpoint that there is, or of which something was counted. Raises NotFound."""
    known = EndpointId(endpoint_id.lower())
    if known not in house.registry.catalog.endpoints and known not in house.journal.totals:
        raise NotFound("There is no endpoint with this id, and there was none.")
    return known
