"""The shapes of what is answered about users, keys and invitations."""

from __future__ import annotations

from datetime import datetime

from llmlb.accounts import InvitationStatus, Permission, Role
from llmlb.http.openapi.shown import Shown


class LoggedInShown(Shown):
    """Who has logged in."""

    id: str
    username: str
    role: Role
    must_change_password: bool
    """Until it is changed, nothing else is allowed."""


class LoginShown(Shown):
    """A session."""

    token: str
    """For `Authorization: Bearer`."""
    expires_in: int
    """Seconds."""
    user: LoggedInShown


class MeShown(Shown):
    """Whoever asks."""

    user_id: str | None
    username: str
    role: Role
    must_change_password: bool


class RegisteredShown(Shown):
    """A new account."""

    id: str
    username: str
    role: Role
    created_at: datetime


class UserShown(Shown):
    """One user: all but the password."""

    id: str
    username: str
    role: Role
    created_at: datetime
    last_login: datetime | None
    must_change_password: bool


class UserListShown(Shown):
    """One page of users."""

    users: list[UserShown]
    total: int
    page: int
    per_page: int


class UserMadeShown(Shown):
    """A new user, and the password to tell them."""

    user: UserShown
    generated_password: str


class InvitationShown(Shown):
    """One invitation, without its code."""

    id: str
    created_by: str
    created_at: datetime
    expires_at: datetime
    status: InvitationStatus
    used_by: str | None
    used_at: datetime | None


class InvitationListShown(Shown):
    """One page of invitations."""

    invitations: list[InvitationShown]
    total: int
    page: int
    per_page: int


class InvitationMadeShown(Shown):
    """A new invitation."""

    id: str
    code: str
    """For one person, and once."""
    created_at: datetime
    expires_at: datetime


class KeyShown(Shown):
    """One API key: all but the key."""

    id: str
    key_prefix: str
    """Its first 10 characters."""
    name: str
    created_by: str
    """The id of the user whose it is."""
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    enabled: bool
    permissions: list[Permission]
    allowed_models: list[str] | None
    """The only models that it may ask for; null: all."""
    requests_per_minute: int | None
    tokens_per_minute: int | None
    max_concurrency: int | None


class KeyListShown(Shown):
    """One page of keys."""

    api_keys: list[KeyShown]
    total: int
    page: int
    per_page: int


class KeyMadeShown(KeyShown):
    """A new key."""

    key: str
    """The key itself."""
