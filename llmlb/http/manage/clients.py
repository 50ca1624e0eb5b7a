"""The routes under /dashboard/clients: who asks, how often, and for which models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from quart import Blueprint, Response, jsonify, request

from llmlb.accounts import KeyId
from llmlb.addresses import group_of
from llmlb.house import House
from llmlb.http.manage.dashboard_settings import alert_threshold
from llmlb.http.manage.endpoint_json import JsonObject
from llmlb.http.manage.history_export import WHAT
from llmlb.http.manage.history_json import record_json
from llmlb.http.manage.query import Page, reading, text_in
from llmlb.store.clients import ModelShare, Span
from llmlb.store.columns import instant_text
from llmlb.store.history_search import HistorySearch

PER_PAGE = 20
RECENT_REQUESTS = 20
DAY, WEEK, HOUR = timedelta(days=1), timedelta(days=7), timedelta(hours=1)

REMEDY = "try again later"

_SHOWN = ("id", "timestamp", "model", "status", "duration_ms")
"""Of a recent request."""


def clients(house: Callable[[], House]) -> Blueprint:
    """The routes of the clients, to be registered under each management prefix."""
    routes, rule = Blueprint("clients", __name__), "/dashboard/clients"

    @routes.get(rule)
    async def list_clients() -> Response:
        page = Page.asked(request.args, default_size=PER_PAGE)
        prefix, current = text_in(request.args, "ip") or "", house()
        span = _last_day(current)
        with reading(WHAT, REMEDY):
            threshold = await alert_threshold(current.store)
            ranked, total = await current.store.clients.ranking(
                span,
                span[1] - HOUR,
                prefix=prefix,
                most=page.size,
                skip=(page.number - 1) * page.size,
            )
        return jsonify(
            rankings=[
                {
                    "ip": one.client,
                    "request_count": one.requests,
                    "last_seen": one.last_seen,
                    "is_alert": one.recent_requests >= threshold,
                    "api_key_count": one.keys,
                }
                for one in ranked
            ],
            total_count=total,
            page=page.number,
            per_page=page.size,
        )

    @routes.get(f"{rule}/timeline")
    async def show_client_timeline() -> Response:
        current = house()
        this_hour = _hour_of(current.world.now())
        hours = _hours_between(this_hour - DAY, this_hour)
        with reading(WHAT, REMEDY):
            found = await current.store.clients.clients_in(hours)
        return jsonify(
            [
                {"hour": instant_text(hour), "unique_ips": count}
                for (hour, _), count in zip(hours, found, strict=True)
            ]
        )

    @routes.get(f"{rule}/models")
    async def list_models_of_clients() -> Response:
        current = house()
        with reading(WHAT, REMEDY):
            shares = await current.store.clients.models(_last_day(current))
        return jsonify([_share_json(share) for share in shares])

    @routes.get(f"{rule}/heatmap")
    async def show_client_heatmap() -> Response:
        current, address = house(), request.args.get("ip")
        end = _hour_of(current.world.now()) + HOUR
        hours = _hours_between(end - WEEK, end)
        with reading(WHAT, REMEDY):
            found = await current.store.clients.requests_in(hours, group_of(address or None))
        cells = [
            {"day_of_week": hour.isoweekday() % 7, "hour": hour.hour, "count": count}
            for (hour, _), count in zip(hours, found, strict=True)
        ]
        return jsonify(sorted(cells, key=lambda cell: (cell["day_of_week"], cell["hour"])))

    @routes.get(f"{rule}/<path:ip>/detail")
    async def show_client(ip: str) -> Response:
        current, client = house(), group_of(ip) or ""
        since, until = span = _last_day(current)
        hours = _hours_between(since, until)
        with reading(WHAT, REMEDY):
            by_hour = await current.store.clients.requests_in(hours, client)
            detail = await current.store.clients.detail(client, span)
            recent = await current.store.history.search(
                HistorySearch(client=client, time_from=since, time_to=until), RECENT_REQUESTS
            )
        return jsonify(
            total_requests=detail.requests,
            first_seen=detail.first_seen,
            last_seen=detail.last_seen,
            recent_requests=[
                {name: record[name] for name in _SHOWN} for record in map(record_json, recent.rows)
            ],
            model_distribution=[_share_json(share) for share in detail.models],
            hourly_pattern=_by_hour_of_day(hours, by_hour),
        )

    @routes.get(f"{rule}/<path:ip>/api-keys")
    async def list_keys_of_client(ip: str) -> Response:
        current, client = house(), group_of(ip) or ""
        with reading(WHAT, REMEDY):
            found = await current.store.clients.keys(client, _last_day(current))
        known = current.keyring.accounts.keys
        return jsonify(
            [
                {
                    "api_key_id": key_id,
                    "name": key.name if (key := known.get(KeyId(key_id))) else None,
                    "request_count": count,
                }
                for key_id, count in found.items()
            ]
        )

    return routes


def _last_day(house: House) -> Span:
    """The 24 hours until now, this very instant included.

    It has an end, for a clock that was put back leaves requests behind that came later than now.
    """
    until = house.world.now() + timedelta.resolution
    return until - DAY, until


def _hour_of(now: datetime) -> datetime:
    return now.replace(minute=0, second=0, microsecond=0)


def _hours_between(since: datetime, until: datetime) -> list[Span]:
    """The hours of that time, each by itself; the first and the last may be part of one."""
    cuts = [since, _hour_of(since) + HOUR]
    while cuts[-1] < until:
        cuts.append(cuts[-1] + HOUR)
    return [*pairwise([*cuts[:-1], until])]


def _share_json(share: ModelShare) -> JsonObject:
    percentage = round(100 * share.part, 1)
    return {"model": share.model, "request_count": share.requests, "percentage": percentage}


def _by_hour_of_day(hours: Sequence[Span], found: Sequence[int]) -> list[JsonObject]:
    """Requests by the hour of the day in UTC, 24 of them."""
    counts = [0] * 24
    for (begin, _), count in zip(hours, found, strict=True):
        counts[begin.hour] += count
    return [{"hour": hour, "count": count} for hour, count in enumerate(counts)]
