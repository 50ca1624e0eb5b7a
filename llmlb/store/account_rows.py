"""How an account becomes a row and a row an account, even one that was edited by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from llmlb.accounts import (
    ApiKey,
    Invitation,
    InvitationStatus,
    KeyId,
    KeyLimits,
    Permission,
    RevokedSession,
    Role,
    Row,
    User,
    UserId,
)
from llmlb.store.columns import Value, instant_of, instant_text, json_of, text_of, whole_of

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""For an instant that cannot be read: whatever it was to begin has begun, or to end has ended."""

COLUMNS: Mapping[type[Row], tuple[str, tuple[str, ...]]] = {
    User: (
        "users",
        (
            "id",
            "username",
            "password_hash",
            "role",
            "created_at",
            "last_login_at",
            "must_change_password",
            "generation",
        ),
    ),
    ApiKey: (
        "api_keys",
        (
            "id",
            "owner",
            "name",
            "prefix",
            "digest",
            "created_at",
            "expires_at",
            "permissions",
            "allowed_models",
            "requests_per_minute",
            "tokens_per_minute",
            "max_concurrency",
            "enabled",
        ),
    ),
    Invitation: (
        "invitations",
        (
            "id",
            "digest",
            "created_by",
            "created_at",
            "expires_at",
            "status",
            "used_by",
            "used_at",
        ),
    ),
    RevokedSession: ("revoked_sessions", ("id", "owner", "expires_at")),
}
"""The table of each kind, and the columns that are written with it, the id first."""


def values_of(row: Row) -> tuple[Value, ...]:
    """What the columns hold of *row*, in their order."""
    match row:
        case User():
            return (
                row.id,
                row.username,
                row.password_hash,
                row.role.value,
                instant_text(row.created_at),
                _instant(row.last_login_at),
                int(row.must_change_password),
                row.generation,
            )
        case ApiKey():
            models = row.allowed_models
            return (
                row.id,
                row.owner,
                row.name,
                row.prefix,
                row.digest,
                instant_text(row.created_at),
                _instant(row.expires_at),
                json.dumps(sorted(row.permissions)),
                None if models is None else json.dumps(sorted(models)),
                row.limits.requests_per_minute,
                row.limits.tokens_per_minute,
                row.limits.max_concurrency,
                int(row.enabled),
            )
        case Invitation():
            return (
                row.id,
                row.digest,
                row.created_by,
                instant_text(row.created_at),
                instant_text(row.expires_at),
                row.status.value,
                row.used_by,
                _instant(row.used_at),
            )
        case RevokedSession():
            return row.id, row.owner, instant_text(row.expires_at)


def user_of(row: Mapping[str, Any]) -> User:
    """What cannot be read counts as the least: a viewer, who has to change the password."""
    return User(
        id=UserId(str(row["id"])),
        username=str(row["username"]),
        password_hash=str(row["password_hash"]),
        role=Role.ADMIN if row["role"] == Role.ADMIN else Role.VIEWER,
        created_at=instant_of(row["created_at"]) or _LONG_AGO,
        last_login_at=instant_of(row["last_login_at"]),
        must_change_password=row["must_change_password"] != 0,
        generation=whole_of(row["generation"]) or 0,
    )


def key_of(row: Mapping[str, Any]) -> ApiKey:
    """What cannot be read counts as the least: expired, without permissions, disabled."""
    models = _names(row["allowed_models"])
    return ApiKey(
        id=KeyId(str(row["id"])),
        owner=UserId(str(row["owner"])),
        name=str(row["name"]),
        prefix=text_of(row["prefix"]) or "",
        digest=str(row["digest"]),
        created_at=instant_of(row["created_at"]) or _LONG_AGO,
        permissions=permissions_of(row["permissions"]),
        expires_at=_end(row["expires_at"]),
        allowed_models=models,
        limits=KeyLimits(
            _limit(row["requests_per_minute"]),
            _limit(row["tokens_per_minute"]),
            _limit(row["max_concurrency"]),
        ),
        enabled=row["enabled"] == 1,
        last_used_at=instant_of(row["last_used_at"]),
    )


def invitation_of(row: Mapping[str, Any]) -> Invitation:
    """One whose status cannot be read is revoked."""
    known = {status.value for status in InvitationStatus}
    used_by = text_of(row["used_by"])
    return Invitation(
        id=str(row["id"]),
        digest=str(row["digest"]),
        created_by=UserId(str(row["created_by"])),
        created_at=instant_of(row["created_at"]) or _LONG_AGO,
        expires_at=instant_of(row["expires_at"]) or _LONG_AGO,
        status=InvitationStatus(row["status"] if row["status"] in known else "revoked"),
        used_by=None if used_by is None else UserId(used_by),
        used_at=instant_of(row["used_at"]),
    )


def session_of(row: Mapping[str, Any]) -> RevokedSession:
    """One whose end cannot be read stays revoked."""
    end = instant_of(row["expires_at"]) or datetime.max.replace(tzinfo=UTC)
    return RevokedSession(str(row["id"]), UserId(str(row["owner"])), end)


READ: Mapping[type[Row], Callable[[Mapping[str, Any]], Row]] = {
    User: user_of,
    ApiKey: key_of,
    Invitation: invitation_of,
    RevokedSession: session_of,
}


def permissions_of(text: object) -> frozenset[Permission]:
    """The permissions known here, from a JSON list of their names."""
    known = {permission.value for permission in Permission}
    names = json_of(text)
    listed = names if isinstance(names, list) else []
    return frozenset(Permission(n) for n in listed if isinstance(n, str) and n in known)


def _instant(instant: datetime | None) -> str | None:
    return None if instant is None else instant_text(instant)


def _end(value: object) -> datetime | None:
    """When something ends; None: never. What cannot be read has ended."""
    return None if value is None else instant_of(value) or _LONG_AGO


def _limit(value: object) -> int | None:
    """A limit; None: there is none. What cannot be read allows nothing."""
    return None if value is None else whole_of(value) or 0


def _names(text: object) -> frozenset[str] | None:
    """Names of models; None: any. What cannot be read allows none."""
    if text is None:
        return None
    names = json_of(text)
    listed = names if isinstance(names, list) else []
    return frozenset(name for name in listed if isinstance(name, str))
