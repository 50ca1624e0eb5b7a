"""Which requests go into the audit log: those that change something, and those of the refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType

from quart import g, request

from llmlb.accounts import User
from llmlb.audit import ActorType, AuditEvent
from llmlb.errors import LbError
from llmlb.http.access.caller import Caller
from llmlb.http.access.gate import Knock
from llmlb.http.access.origin import SAFE

_ENDPOINT, _USER, _KEY, _INVITATION = "endpoint", "user", "api_key", "invitation"
_BENCHMARK = "benchmark"

ACTIONS: Mapping[str, tuple[str, str | None]] = MappingProxyType(
    {
        "POST /setup": ("user.setup", _USER),
        "POST /auth/login": ("login", _USER),
        "POST /auth/register": ("user.register", _USER),
        "POST /auth/logout": ("logout", _USER),
        "PUT /auth/change-password": ("user.change_password", _USER),
        "POST /users": ("user.create", _USER),
        "PUT /users/<user_id>": ("user.edit", _USER),
        "DELETE /users/<user_id>": ("user.delete", _USER),
        "POST /invitations": ("invitation.create", _INVITATION),
        "DELETE /invitations/<invitation_id>": ("invitation.revoke", _INVITATION),
        "POST /me/api-keys": ("api_key.create", _KEY),
        "PUT /me/api-keys/<key_id>": ("api_key.edit", _KEY),
        "DELETE /me/api-keys/<key_id>": ("api_key.delete", _KEY),
        "PUT /api-keys/<key_id>": ("api_key.edit", _KEY),
        "DELETE /api-keys/<key_id>": ("api_key.delete", _KEY),
        "POST /endpoints": ("endpoint.create", _ENDPOINT),
        "PUT /endpoints/<endpoint_id>": ("endpoint.edit", _ENDPOINT),
        "PATCH /endpoints/<endpoint_id>": ("endpoint.edit", _ENDPOINT),
        "DELETE /endpoints/<endpoint_id>": ("endpoint.delete", _ENDPOINT),
        "POST /endpoints/<endpoint_id>/test": ("endpoint.test", _ENDPOINT),
        "POST /endpoints/<endpoint_id>/sync": ("endpoint.sync", _ENDPOINT),
        "POST /endpoints/<endpoint_id>/enable": ("endpoint.enable", _ENDPOINT),
        "POST /endpoints/<endpoint_id>/drain": ("endpoint.drain", _ENDPOINT),
        "POST /endpoints/<endpoint_id>/disable": ("endpoint.disable", _ENDPOINT),
        "POST /endpoints/<endpoint_id>/models/delete": ("model.delete", _ENDPOINT),
        "POST /endpoints/<endpoint_id>/download": ("model.download", _ENDPOINT),
        "DELETE /endpoints/<endpoint_id>/download/<uuid:task_id>": (
            "model.cancel_download",
            _ENDPOINT,
        ),
        "POST /benchmarks/tps": ("benchmark.begin", _BENCHMARK),
        "DELETE /benchmarks/tps/<run_id>": ("benchmark.cancel", _BENCHMARK),
        "PUT /dashboard/settings/<key>": ("setting.edit", "setting"),
        "POST /dashboard/audit-logs/verify": ("audit.verify", None),
        "PUT /system/logging": ("logging.edit", None),
    }
)
"""By method and rule, without the prefix: what is done, and to what kind of object."""

LOGIN_FAILED, REFUSED, DENIED = "login.failed", "auth.failed", "access.denied"


@dataclass(slots=True)
class _Note:
    """What a view knows and the request does not say."""

    object_id: str | None = None
    detail: str | None = None
    user: User | None = None
    name: str | None = None


def note(
    *,
    object_id: str | None = None,
    detail: str | None = None,
    user: User | None = None,
    name: str | None = None,
) -> None:
    """Tell more of the request at hand: the object that came of it, and never a secret.

    *user* is who has turned out to be asking, *name* what somebody calls himself.
    """
    known: _Note = g.setdefault("audit_note", _Note())
    known.object_id = object_id or known.object_id
    known.detail = detail or known.detail
    known.user, known.name = user or known.user, name or known.name


def action_of(method: str, rule: str) -> tuple[str, str | None] | None:
    """What a route does that is to be recorded; None for one that changes nothing."""
    for prefix in ("/api", "/v0"):
        rule = rule.removeprefix(prefix)
    return ACTIONS.get(f"{method} {rule}")


def event_of(status: int, at: datetime) -> AuditEvent | None:
    """What the request at hand was, now that it is answered with *status*.

    None for what changes nothing, and for whoever was not let in: the gate has told of that.
    """
    if request.method in SAFE or request.url_rule is None or "caller" not in g:
        return None
    known = action_of(request.method, request.url_rule.rule)
    if known is None:
        return None
    action, kind = known
    said: _Note = g.get("audit_note", _Note())
    caller: Caller = g.caller
    user = said.user or caller.user
    named = next(iter((request.view_args or {}).values()), None)
    object_id = said.object_id or named
    if kind == _USER and object_id is None and user is not None:
        object_id = user.id
    failed_login = action == "login" and status >= 400
    event = AuditEvent(
        at=at,
        action=LOGIN_FAILED if failed_login else action,
        actor_type=ActorType.ANONYMOUS,
        client_address=caller.address,
        method=request.method,
        path=request.path,
        status=status,
        object_type=kind,
        object_id=object_id,
        endpoint_id=object_id if kind == _ENDPOINT else None,
        request_id=g.request_id,
        detail=said.detail,
    )
    return _acted(event, caller, user, said.name)


def refusal_event(knock: Knock, refusal: LbError, caller: Caller, at: datetime) -> AuditEvent:
    """That somebody was not let in. Who it was is known only if the credential was right."""
    status = refusal.http_status()
    event = AuditEvent(
        at=at,
        action=REFUSED if status == 401 else DENIED,
        actor_type=ActorType.ANONYMOUS,
        client_address=caller.address,
        method=knock.method,
        path=knock.path,
        status=status,
        request_id=knock.request_id,
        detail=refusal.error_code(),
    )
    return _acted(event, caller, caller.user, None)


def _acted(event: AuditEvent, caller: Caller, user: User | None, name: str | None) -> AuditEvent:
    """*event*, with whoever brought it about."""
    if caller.key is not None and user is not None:
        return replace(
            event,
            actor_type=ActorType.API_KEY,
            actor_id=caller.key.id,
            actor_name=caller.key.name,
            api_key_id=caller.key.id,
            api_key_owner_id=user.id,
        )
    if user is not None:
        return replace(event, actor_type=ActorType.USER, actor_id=user.id, actor_name=user.username)
    return replace(event, actor_name="local" if caller.local else name)
