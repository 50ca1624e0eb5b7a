"""Who is asking: a key, somebody who has logged in, this machine itself, or nobody known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from llmlb.accounts import VIEWER_PERMISSIONS, ApiKey, Permission, Role, User

if TYPE_CHECKING:
    from llmlb.http.access.sessions import Session


class Caller(Struct, frozen=True):
    """Whoever a request comes from, as far as it has been proved."""

    address: str | None
    """Of the client, which may be behind a proxy that is trusted."""
    user: User | None = None
    """Who has logged in, or whose key it is."""
    key: ApiKey | None = None
    session: Session | None = None
    local: bool = False
    """This machine itself, while that is all that it takes."""

    @property
    def owner(self) -> str | None:
        """Whom the responses belong to that endpoints keep: the id of the key."""
        return None if self.key is None else self.key.id

    def may_ask_for(self, model: str) -> bool:
        """Whether the key's list of models, if it has one, holds *model*."""
        allowed = None if self.key is None else self.key.allowed_models
        return allowed is None or model in allowed


NOBODY = Caller(None)
"""Before anything has been looked at."""


def permissions_of(key: ApiKey, owner: User) -> frozenset[Permission]:
    """What *key* can do: never more than its owner's role allows today."""
    if owner.role is Role.ADMIN:
        return key.permissions
    return key.permissions & VIEWER_PERMISSIONS
