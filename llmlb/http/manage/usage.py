"""The routes under /dashboard that add up what was used, and how fast it went."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, timedelta

from quart import Blueprint, Response, jsonify, request

from llmlb.accounting import Totals
from llmlb.errors import InvalidRequest
from llmlb.house import House
from llmlb.http.manage.endpoint_json import JsonObject
from llmlb.http.manage.endpoint_statistics import MOST_DAYS, REMEDY, WHAT
from llmlb.http.manage.query import MOST_PER_PAGE, reading, whole
from llmlb.http.manage.statistics_json import model_stats_json, speed_json, usage_json
from llmlb.model_names import usual
from llmlb.store.speeds import RELATIVE_ERROR
from llmlb.store.sums import MOST_GROUPS, By, Group, Unit, Wanted

TOKEN_DAYS, SPEED_DAYS = 30, 7
MONTHS, MOST_MONTHS = 12, 120
MOST_ASKED_CHARS = 500

GROUPS: Mapping[str, By] = {"model": By.MODEL, "endpoint": By.ENDPOINT, "key": By.KEY}
"""What `group_by` may say."""
_NAMES: Mapping[By, str] = {
    By.DAY: "date",
    By.MONTH: "month",
    By.MODEL: "model",
    By.ENDPOINT: "endpoint_id",
    By.KEY: "api_key_id",
}


def usage(house: Callable[[], House]) -> Blueprint:
    """The routes, to be registered under each management prefix. Days are those of UTC."""
    routes = Blueprint("usage", __name__)

    @routes.get("/dashboard/stats/tokens")
    async def token_stats() -> Response:
        current = house()
        by = _group_by(request.args)
        with reading(WHAT, REMEDY):
            found = await current.journal.sums(_wanted(by))
            if len(found) >= MOST_GROUPS:  # what was left out is of them, too
                whole_sum = await current.journal.sums(_wanted(()))
                total = sum(whole_sum.values(), Totals())
            else:
                total = sum(found.values(), Totals())
        shown = usage_json(total)
        return jsonify({**shown, "groups": _shown(found, by)} if by else shown)

    @routes.get("/dashboard/stats/tokens/daily")
    async def token_stats_daily() -> Response:
        current = house()
        days = whole(request.args, "days", default=TOKEN_DAYS, most=MOST_DAYS)
        return await _by_time(current, By.DAY, _today(current) - timedelta(days=days - 1))

    @routes.get("/dashboard/stats/tokens/monthly")
    async def token_stats_monthly() -> Response:
        current = house()
        months = whole(request.args, "months", default=MONTHS, most=MOST_MONTHS)
        today = _today(current)
        years, month = divmod(today.year * 12 + today.month - months, 12)
        return await _by_time(current, By.MONTH, date(years, month + 1, 1))

    @routes.get("/dashboard/model-stats")
    async def model_stats() -> Response:
        with reading(WHAT, REMEDY):
            found = await house().journal.sums(Wanted(Unit.ATTEMPTS, (By.MODEL,)))
        return jsonify([model_stats_json(model, totals) for (model,), totals in found.items()])

    @routes.get("/dashboard/stats/latency")
    async def latency_stats() -> Response:
        current = house()
        days = whole(request.args, "days", default=SPEED_DAYS, most=MOST_DAYS)
        limit = whole(request.args, "limit", default=MOST_PER_PAGE, most=MOST_PER_PAGE)
        since = _today(current) - timedelta(days=days - 1)
        with reading(WHAT, REMEDY):
            speeds = await current.store.statistics.speeds(
                since,
                endpoint_id=_text(request.args, "endpoint_id"),
                model=_text(request.args, "model"),
                limit=limit,
            )
        known = current.registry.catalog.endpoints
        return jsonify(
            since=since.isoformat(),
            relative_error=RELATIVE_ERROR,
            left_out=speeds.left_out,
            models=[
                speed_json(s, known[s.endpoint_id].name if s.endpoint_id in known else None)
                for s in speeds.found
            ],
        )

    return routes


async def _by_time(house: House, unit: By, since: date) -> Response:
    by = (unit, *_group_by(request.args))
    with reading(WHAT, REMEDY):
        found = await house.journal.sums(_wanted(by, since))
    return jsonify(_shown(found, by))


def _wanted(by: tuple[By, ...], since: date | None = None) -> Wanted:
    """The sums that the query at hand asks for. Raises InvalidRequest."""
    model = _text(request.args, "model")
    return Wanted(
        Unit.REQUESTS,
        by,
        endpoint_id=_text(request.args, "endpoint_id"),
        model=None if model is None else usual(model),
        key_id=_text(request.args, "api_key_id"),
        since=since,
    )


def _shown(found: Mapping[Group, Totals], by: tuple[By, ...]) -> list[JsonObject]:
    # what stands for nothing in a row is null in JSON
    return [
        {
            **{_NAMES[part]: value or None for part, value in zip(by, group, strict=True)},
            **usage_json(totals),
        }
        for group, totals in found.items()
    ]


def _today(house: House) -> date:
    return house.world.now().astimezone(UTC).date()


def _group_by(query: Mapping[str, str]) -> tuple[By, ...]:
    said = query.get("group_by")
    if said is None:
        return ()
    if said not in GROUPS:
        raise InvalidRequest(f"'group_by' must be one of {', '.join(GROUPS)}.", param="group_by")
    return (GROUPS[said],)


def _text(query: Mapping[str, str], name: str) -> str | None:
    said = query.get(name) or None
    if said is not None and len(said) > MOST_ASKED_CHARS:
        raise InvalidRequest(
            f"'{name}' must have {MOST_ASKED_CHARS} characters at most.", param=name
        )
    return said
