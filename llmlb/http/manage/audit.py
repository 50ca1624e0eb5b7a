"""The routes under /dashboard/audit-logs: what was done, by whom, and is that still true."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from quart import Blueprint, Response, jsonify, request

from llmlb.audit import ActorType, AuditEntry
from llmlb.errors import InvalidRequest
from llmlb.house import House
from llmlb.http.manage.endpoint_json import JsonObject
from llmlb.http.manage.query import Page, instant_in, reading, text_in
from llmlb.store.audit_search import AuditSearch

PER_PAGE = 50
VERIFY_LIMIT_S = 300.0
"""A million entries take about a minute."""


def audit_log(house: Callable[[], House]) -> Blueprint:
    """The routes of the audit log, to be registered under each management prefix."""
    routes, logs = Blueprint("audit", __name__), "/dashboard/audit-logs"

    @routes.get(logs)
    async def list_audit_entries() -> Response:
        page = Page.asked(request.args, default_size=PER_PAGE)
        wanted = _wanted(request.args, page)
        with reading("The audit log", "ask for less at once"):
            entries, total = await house().store.audit.search(wanted)
        return jsonify(
            items=[entry_json(entry) for entry in entries],
            total=total,
            page=page.number,
            per_page=page.size,
        )

    @routes.get(f"{logs}/stats")
    async def count_audit_entries() -> Response:
        current = house()
        with reading("The audit log", "try again later"):
            figures = await current.store.audit.figures(current.world.now())
        return jsonify(
            total_entries=figures.total,
            by_method=[{"method": m, "count": n} for m, n in figures.by_method.items()],
            by_actor_type=[{"actor_type": t, "count": n} for t, n in figures.by_actor_type.items()],
            last_24h=figures.last_24h,
        )

    @routes.post(f"{logs}/verify")
    async def verify_audit_log() -> Response:
        with reading(
            "The audit log", "run 'llmlb audit verify' on its machine", limit_s=VERIFY_LIMIT_S
        ):
            found = await house().audit.verify()
        return jsonify(found.as_json())

    return routes


def entry_json(entry: AuditEntry) -> JsonObject:
    """One entry, in the older product's words where it has them."""
    event = entry.event
    return {
        "id": entry.sequence,
        "timestamp": entry.written()["at"],  # to the microsecond: the hash is over it
        "action": event.action,
        "http_method": event.method,
        "request_path": event.path,
        "status_code": event.status,
        "actor_type": event.actor_type.value,
        "actor_id": event.actor_id,
        "actor_username": event.actor_name,
        "api_key_id": event.api_key_id,
        "api_key_owner_id": event.api_key_owner_id,
        "client_ip": event.client_address,
        "object_type": event.object_type,
        "object_id": event.object_id,
        "endpoint_id": event.endpoint_id,
        "model_name": event.model,
        "request_id": event.request_id,
        "detail": event.detail,
        "count": event.count,
        "previous_hash": entry.previous_hash,
        "hash": entry.hash,
    }


def _wanted(query: Mapping[str, str], page: Page) -> AuditSearch:
    """What the query asks for. Raises InvalidRequest."""
    return AuditSearch(
        limit=page.size,
        offset=(page.number - 1) * page.size,
        actor_type=_actor_type(query.get("actor_type")),
        actor_id=query.get("actor_id"),
        method=query.get("http_method", "").upper() or None,
        path=query.get("request_path"),
        status=_status(query.get("status_code")),
        time_from=instant_in(query, "time_from"),
        time_to=instant_in(query, "time_to"),
        address_part=text_in(query, "ip"),
        text=text_in(query, "search"),
    )


def _actor_type(said: str | None) -> ActorType | None:
    if said is None:
        return None
    if said not in set(ActorType):
        known = ", ".join(ActorType)
        raise InvalidRequest(f"'actor_type' must be one of {known}.", param="actor_type")
    return ActorType(said)


def _status(said: str | None) -> int | None:
    if said is None:
        return None
    if len(said) != 3 or not said.isascii() or not said.isdigit():
        raise InvalidRequest("'status_code' must be a number like 404.", param="status_code")
    return int(said)
