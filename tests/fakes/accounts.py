"""People and keys, made without the work that real passwords are."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

from pwdlib.hashers.argon2 import Argon2Hasher

from llmlb.accounts import Accounts, ApiKey, KeyId, Permission, Role, Row, Step, User, UserId
from llmlb.accounts.credentials import PREFIX_CHARS, digest_of
from llmlb.house import House

PASSWORD = "correct horse battery"

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)

EVERYTHING = frozenset(Permission)


@cache
def cheap_hash(password: str = PASSWORD) -> str:
    return Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1).hash(password)


def user(name: str = "ann", role: Role = Role.ADMIN, **fields: Any) -> User:
    fields.setdefault("created_at", LONG_AGO)
    fields.setdefault("password_hash", cheap_hash())
    return User(UserId(f"user-{name}"), name, role=role, **fields)


def secret_of(name: str) -> str:
    """The key that `key(name)` is of."""
    return "sk_" + (name + "0" * 32)[:32]


def key(name: str = "laptop", owner: str = "ann", **fields: Any) -> ApiKey:
    fields.setdefault("permissions", EVERYTHING)
    fields.setdefault("created_at", LONG_AGO)
    secret = secret_of(name)
    return ApiKey(
        KeyId(f"key-{name}"),
        UserId(f"user-{owner}"),
        name,
        secret[:PREFIX_CHARS],
        digest_of(secret),
        **fields,
    )


async def moved_in(house: House, *rows: Row) -> None:
    """*rows* belong to the accounts from now on."""

    def put(_: Accounts) -> Step[None]:
        return Step(None, put=rows)

    await house.keyring.change(put)


def bearer(name: str) -> dict[str, str]:
    """The header that shows `key(name)`."""
    return {"authorization": f"Bearer {secret_of(name)}"}
