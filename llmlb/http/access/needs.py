"""What each route asks of whoever calls it. A route that is not in this table cannot exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from werkzeug.routing import Map

from llmlb.accounts import Permission, Role
from llmlb.http.manage.later import METHODS, RULES
from llmlb.http.paths import PATHS


@dataclass(frozen=True, slots=True)
class Need:
    """Any one of what is named here opens the route."""

    public: bool = False
    """Nobody has to say who they are."""
    always: bool = False
    """Also to other machines before there is an administrator."""
    key: Permission | None = None
    """An API key with this permission."""
    role: Role | None = None
    """Somebody who has logged in, of this role or a higher one."""
    password_due: bool = False
    """Also for somebody who has to change the password first."""
    person: bool = False
    """It is about the account of whoever asks, or about those of others: there has to be one."""
    public_if_set: bool = False
    """Public where `LLMLB_METRICS_PUBLIC` says so."""
    in_core: bool = False
    """The exchange core asks, for every face."""


WEBSOCKET = "WS"
"""What stands for the method of a request that opens a WebSocket."""

ALWAYS = Need(public=True, always=True)
PUBLIC = Need(public=True)
INFERENCE = Need(key=Permission.INFERENCE, in_core=True)
CHOSEN = Need(role=Role.VIEWER, in_core=True)
ANYBODY = Need(role=Role.VIEWER)
ADMIN = Need(role=Role.ADMIN)
SELF = Need(role=Role.VIEWER, person=True)
SELF_AT_ONCE = Need(role=Role.VIEWER, person=True, password_due=True)


def _key(permission: Permission) -> Need:
    return Need(key=permission)


def _anybody_or(permission: Permission) -> Need:
    return Need(key=permission, role=Role.VIEWER)


def _admin_or(permission: Permission, *, person: bool = False) -> Need:
    return Need(key=permission, role=Role.ADMIN, person=person)


_P = Permission
_ONE = "/endpoints/<endpoint_id>"
_USERS = _admin_or(_P.USERS_MANAGE, person=True)
_INVITATIONS = _admin_or(_P.INVITATIONS_MANAGE, person=True)
_ALL_KEYS = _admin_or(_P.API_KEYS_MANAGE, person=True)
LOGS = _admin_or(_P.LOGS_READ)
_METRICS = Need(key=_P.METRICS_READ, role=Role.VIEWER, public_if_set=True)

_HISTORY = (
    "request-responses",
    "request-responses/<record_id>",
    "request-responses/export",
    "clients",
    "clients/timeline",
    "clients/models",
    "clients/heatmap",
    "clients/<path:ip>/detail",
    "clients/<path:ip>/api-keys",
    "settings/<key>",
)
"""What tells who asked for what, and from where."""

_MANAGEMENT: Mapping[str, Need] = {
    "POST /auth/login": PUBLIC,
    "POST /auth/register": PUBLIC,
    "GET /auth/me": Need(role=Role.VIEWER, password_due=True),
    "POST /auth/logout": SELF_AT_ONCE,
    "PUT /auth/change-password": SELF_AT_ONCE,
    "GET /users": _USERS,
    "POST /users": _USERS,
    "PUT /users/<user_id>": _USERS,
    "DELETE /users/<user_id>": _USERS,
    "GET /invitations": _INVITATIONS,
    "POST /invitations": _INVITATIONS,
    "DELETE /invitations/<invitation_id>": _INVITATIONS,
    "GET /me/api-keys": SELF,
    "POST /me/api-keys": SELF,
    "PUT /me/api-keys/<key_id>": SELF,
    "DELETE /me/api-keys/<key_id>": SELF,
    "GET /api-keys": _ALL_KEYS,
    "PUT /api-keys/<key_id>": _ALL_KEYS,
    "DELETE /api-keys/<key_id>": _ALL_KEYS,
    "GET /endpoints": _anybody_or(_P.ENDPOINTS_READ),
    f"GET {_ONE}": _anybody_or(_P.ENDPOINTS_READ),
    f"GET {_ONE}/models": _anybody_or(_P.ENDPOINTS_READ),
    "POST /endpoints": _admin_or(_P.ENDPOINTS_MANAGE),
    f"PUT {_ONE}": _admin_or(_P.ENDPOINTS_MANAGE),
    f"PATCH {_ONE}": _admin_or(_P.ENDPOINTS_MANAGE),
    f"DELETE {_ONE}": _admin_or(_P.ENDPOINTS_MANAGE),
    f"POST {_ONE}/test": _admin_or(_P.ENDPOINTS_MANAGE),
    f"POST {_ONE}/sync": _admin_or(_P.ENDPOINTS_MANAGE),
    f"POST {_ONE}/enable": _admin_or(_P.ENDPOINTS_MANAGE),
    f"POST {_ONE}/drain": _admin_or(_P.ENDPOINTS_MANAGE),
    f"POST {_ONE}/disable": _admin_or(_P.ENDPOINTS_MANAGE),
    f"GET {_ONE}/models/<path:model>/info": _anybody_or(_P.ENDPOINTS_READ),
    f"POST {_ONE}/models/delete": _admin_or(_P.ENDPOINTS_MANAGE),
    f"POST {_ONE}/download": _admin_or(_P.ENDPOINTS_MANAGE),
    f"GET {_ONE}/download/progress": _anybody_or(_P.ENDPOINTS_READ),
    f"DELETE {_ONE}/download/<uuid:task_id>": _admin_or(_P.ENDPOINTS_MANAGE),
    f"POST {_ONE}/chat/completions": CHOSEN,
    "GET /requests/<request_id>/decision": _anybody_or(_P.ENDPOINTS_READ),
    f"GET {_ONE}/logs": LOGS,
    "GET /dashboard/logs/lb": LOGS,
    "GET /system/logging": ADMIN,
    "PUT /system/logging": ADMIN,
    "POST /benchmarks/tps": ADMIN,
    "GET /benchmarks/tps": ANYBODY,
    "GET /benchmarks/tps/<run_id>": ANYBODY,
    "DELETE /benchmarks/tps/<run_id>": ADMIN,
    f"GET {_ONE}/today-stats": _anybody_or(_P.ENDPOINTS_READ),
    f"GET {_ONE}/daily-stats": _anybody_or(_P.ENDPOINTS_READ),
    f"GET {_ONE}/model-stats": _anybody_or(_P.ENDPOINTS_READ),
    f"GET {_ONE}/model-tps": _anybody_or(_P.ENDPOINTS_READ),
    "GET /dashboard/endpoints": _anybody_or(_P.ENDPOINTS_READ),
    "GET /dashboard/models": _anybody_or(_P.ENDPOINTS_READ),
    "GET /dashboard/stats": _anybody_or(_P.METRICS_READ),
    "GET /dashboard/request-history": _anybody_or(_P.METRICS_READ),
    "GET /dashboard/overview": _anybody_or(_P.METRICS_READ),
    "GET /dashboard/metrics/<endpoint_id>": _anybody_or(_P.METRICS_READ),
    "GET /dashboard/stats/tokens": _anybody_or(_P.METRICS_READ),
    "GET /dashboard/stats/tokens/daily": _anybody_or(_P.METRICS_READ),
    "GET /dashboard/stats/tokens/monthly": _anybody_or(_P.METRICS_READ),
    "GET /dashboard/stats/latency": _anybody_or(_P.METRICS_READ),
    "GET /dashboard/model-stats": _anybody_or(_P.METRICS_READ),
    "GET /dashboard/events": ANYBODY,
    "GET /dashboard/audit-logs": ADMIN,
    "GET /dashboard/audit-logs/stats": ADMIN,
    "POST /dashboard/audit-logs/verify": ADMIN,
    **{f"GET /dashboard/{route}": ADMIN for route in _HISTORY},
    "PUT /dashboard/settings/<key>": ADMIN,
    **{f"{method} {rule}": _anybody_or(_P.REGISTRY_READ) for method in METHODS for rule in RULES},
}
"""Under `/api`, and under the older `/v0`."""


def _table() -> Iterable[tuple[str, Need]]:
    yield "GET /health", ALWAYS
    yield "GET /ready", ALWAYS
    yield "GET /setup", ALWAYS
    yield "POST /setup", ALWAYS
    yield "GET /setup.css", ALWAYS
    yield "GET /openapi.json", _METRICS
    yield f"{WEBSOCKET} /ws/dashboard", ANYBODY
    yield "GET /metrics", _METRICS
    for path in PATHS.values():
        yield f"POST {path}", INFERENCE
    for route in (
        "GET /v1/responses/<response_id>",
        "DELETE /v1/responses/<response_id>",
        "POST /v1/responses/<response_id>/cancel",
        "GET /v1/responses/<response_id>/input_items",
    ):
        yield route, INFERENCE
    yield "GET /v1/models", _key(_P.MODELS_READ)
    yield "GET /v1/models/<path:name>", _key(_P.MODELS_READ)
    for prefix in ("/api", "/v0"):
        for route, need in _MANAGEMENT.items():
            method, _, path = route.partition(" ")
            yield f"{method} {prefix}{path}", need


NEEDS: Mapping[str, Need] = MappingProxyType(dict(_table()))
"""By method and rule, as `GET /v1/models`. HEAD is as GET, and a WebSocket's method is `WS`."""


def refuse_undeclared(url_map: Map) -> None:
    """Raise ValueError for a route that is not in the table, and for a line that has no route."""
    routes = {
        f"{method} {rule.rule}"
        for rule in url_map.iter_rules()
        for method in ({WEBSOCKET} if rule.websocket else (rule.methods or set()) - {"HEAD"})
    }
    if routes != NEEDS.keys():
        raise ValueError(f"routes and needs differ: {sorted(routes ^ NEEDS.keys())}")


def need_of(method: str, rule: str) -> Need:
    """What a route asks for. Raises KeyError for one that nobody has declared."""
    return NEEDS[f"{'GET' if method == 'HEAD' else method} {rule}"]
