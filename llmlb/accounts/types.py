"""What an account is made of, all frozen; nothing here shows a secret in its repr."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NewType

if TYPE_CHECKING:
    from datetime import datetime

UserId = NewType("UserId", str)
KeyId = NewType("KeyId", str)


class Role(StrEnum):
    """What somebody who has logged in may do."""

    ADMIN = "admin"
    """Everything."""
    VIEWER = "viewer"
    """Look at endpoints and dashboards, and use models with keys of their own."""


class Permission(StrEnum):
    """What an API key may do."""

    INFERENCE = "openai.inference"
    MODELS_READ = "openai.models.read"
    ENDPOINTS_READ = "endpoints.read"
    ENDPOINTS_MANAGE = "endpoints.manage"
    API_KEYS_MANAGE = "api_keys.manage"
    USERS_MANAGE = "users.manage"
    INVITATIONS_MANAGE = "invitations.manage"
    MODELS_MANAGE = "models.manage"
    REGISTRY_READ = "registry.read"
    LOGS_READ = "logs.read"
    METRICS_READ = "metrics.read"


VIEWER_PERMISSIONS = frozenset({Permission.INFERENCE, Permission.MODELS_READ})
"""All that a viewer's keys can have."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who can log in."""

    id: UserId
    username: str
    password_hash: str = field(repr=False)
    """As the hash's own library writes it: argon2id, or bcrypt from the Rust llmlb."""
    role: Role
    created_at: datetime
    last_login_at: datetime | None = None
    must_change_password: bool = False
    generation: int = 0
    """Sessions of an earlier generation count no more."""


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """How much a key may ask for; None: as much as there is."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key, but for the key itself, which nobody keeps."""

    id: KeyId
    owner: UserId
    name: str
    prefix: str
    """Its first 10 characters: enough to recognise it, and to find it by."""
    digest: str = field(repr=False)
    """SHA-256 of the whole key, in hex."""
    created_at: datetime
    permissions: frozenset[Permission]
    expires_at: datetime | None = None
    allowed_models: frozenset[str] | None = None
    """The names of models that it may ask for; None: any."""
    limits: KeyLimits = KeyLimits()
    enabled: bool = True
    last_used_at: datetime | None = None
    """As of the last start; what came since is the journal's."""

    def expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


class InvitationStatus(StrEnum):
    ACTIVE = "active"
    USED = "used"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Invitation:
    """Lets one person make an account of their own."""

    id: str
    digest: str = field(repr=False)
    """SHA-256 of the code, in hex."""
    created_by: UserId
    created_at: datetime
    expires_at: datetime
    status: InvitationStatus = InvitationStatus.ACTIVE
    used_by: UserId | None = None
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RevokedSession:
    """A session that has been ended before its time."""

    id: str
    owner: UserId
    expires_at: datetime
