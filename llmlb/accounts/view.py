"""The frozen view of all accounts, and how one step leads to the next."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, TypeVar

from llmlb.accounts.types import ApiKey, Invitation, KeyId, RevokedSession, Role, User, UserId

T = TypeVar("T")

Row = User | ApiKey | Invitation | RevokedSession
"""What is stored, one by one, under its id."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """Everybody and everything that may get in, as of one moment."""

    users: Mapping[UserId, User] = field(default_factory=dict)
    keys: Mapping[KeyId, ApiKey] = field(default_factory=dict)
    invitations: Mapping[str, Invitation] = field(default_factory=dict)
    revoked: Mapping[str, RevokedSession] = field(default_factory=dict)
    by_prefix: Mapping[str, tuple[ApiKey, ...]] = field(init=False)
    """Keys by their prefix, which is no secret; those that have the same one follow each other."""
    by_name: Mapping[str, User] = field(init=False)
    has_admin: bool = field(init=False)

    def __post_init__(self) -> None:
        grouped: defaultdict[str, tuple[ApiKey, ...]] = defaultdict(tuple)
        for key in self.keys.values():
            grouped[key.prefix] += (key,)
        object.__setattr__(self, "by_prefix", MappingProxyType(dict(grouped)))
        by_name = {user.username: user for user in self.users.values()}
        object.__setattr__(self, "by_name", MappingProxyType(by_name))
        object.__setattr__(self, "has_admin", bool(self.admins))

    def __repr__(self) -> str:
        return f"<Accounts: {len(self.users)} users, {len(self.keys)} keys>"

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Accounts:
        """The view of *rows*."""
        return cls().with_changes(put=rows)

    @property
    def admins(self) -> list[User]:
        return [user for user in self.users.values() if user.role is Role.ADMIN]

    def keys_of(self, owner: UserId) -> list[ApiKey]:
        """The keys of one user, the newest first."""
        own = [key for key in self.keys.values() if key.owner == owner]
        return sorted(own, key=lambda key: (key.created_at, key.id), reverse=True)

    def with_changes(self, *, put: Iterable[Row] = (), drop: Iterable[Row] = ()) -> Accounts:
        """This view without *drop*, and with *put* in the place of what had the same ids."""
        users, keys = dict(self.users), dict(self.keys)
        invitations, revoked = dict(self.invitations), dict(self.revoked)
        for row in drop:
            match row:
                case User():
                    users.pop(row.id, None)
                case ApiKey():
                    keys.pop(row.id, None)
                case Invitation():
                    invitations.pop(row.id, None)
                case RevokedSession():
                    revoked.pop(row.id, None)
        for row in put:
            match row:
                case User():
                    users[row.id] = row
                case ApiKey():
                    keys[row.id] = row
                case Invitation():
                    invitations[row.id] = row
                case RevokedSession():
                    revoked[row.id] = row
        return Accounts(users, keys, invitations, revoked)


@dataclass(frozen=True, slots=True)
class Step(Generic[T]):
    """What one change of the accounts comes to: what is to be written, and what is answered."""

    answer: T
    put: tuple[Row, ...] = ()
    drop: tuple[Row, ...] = ()
