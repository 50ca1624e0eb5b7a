"""How users, API keys and invitations of the Rust llmlb become ours, so that all keep working."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pypika import Query, Table

from llmlb.account_form import username_problem
from llmlb.accounts import (
    VIEWER_PERMISSIONS,
    ApiKey,
    Invitation,
    InvitationStatus,
    KeyId,
    Permission,
    Role,
    User,
    UserId,
)
from llmlb.accounts.credentials import PREFIX_CHARS
from llmlb.store.account_rows import permissions_of
from llmlb.store.accounts import load_accounts, put_account
from llmlb.store.columns import instant_of, json_of, text_of
from llmlb.store.database import Transaction
from llmlb.store.import_report import Fate, Report
from llmlb.store.import_rust import reading_rust
from llmlb.store.older import UnreadableRecord
from llmlb.store.sql import sql

_READ = {
    name: sql(Query.from_(Table(name)).select("*"))
    for name in ("users", "api_keys", "invitation_codes")
}
"""In the order of import: a key needs its owner."""

_SHOWN = (
    *("id", "username", "role", "name", "key_prefix", "permissions", "scopes"),
    *("status", "created_by", "created_at", "expires_at", "used_by", "used_at"),
)
"""What is kept of a record that was not imported: no hash, and no column that nobody knows."""

_SCOPES = {
    "api": VIEWER_PERMISSIONS,
    "runtime": frozenset({Permission.REGISTRY_READ}),
    "admin": frozenset(Permission),
}
"""What keys had before they had permissions."""

_SHA256 = re.compile("[0-9a-f]{64}")

Record = Mapping[str, Any]
_Imported = User | ApiKey | Invitation


def read_rust_accounts(path: Path) -> list[tuple[str, Record]]:
    """Its records of accounts, each with the name of its table. Raises Unimportable."""
    with reading_rust(path) as (statements, tables):
        return [
            (name, row)
            for name, query in _READ.items()
            if name in tables
            for row in statements.each(query)
        ]


def apply_accounts(
    statements: Transaction, report: Report, records: list[tuple[str, Record]], now: datetime
) -> None:
    """How records of `read_rust_accounts` are added to the accounts. Raises sqlite3.Error."""
    present = _Present(statements)
    for number, (table, record) in enumerate(records, 1):
        shown = {"table": table, **{name: record[name] for name in _SHOWN if name in record}}
        try:
            row = _PARSE[table](record, now)
            if present.has(row):
                report.note(number, Fate.KNOWN, record_id=row.id, record=shown)
                continue
            added = present.add(row)
        except UnreadableRecord as error:
            report.note(number, Fate.UNREADABLE, remark=f"{table}: {error}", record=shown)
            continue
        before, after = _name_of(row), _name_of(added)
        remark = None if before == after else f"{table}: '{before}' became '{after}'"
        report.note(number, Fate.IMPORTED, record_id=row.id, remark=remark)


class _Present:
    """The accounts that are there, with those that were just added."""

    def __init__(self, statements: Transaction) -> None:
        self._statements = statements
        accounts = load_accounts(statements)
        self._users = set(accounts.users)
        self._ids: set[tuple[type[_Imported], str]] = set()
        self._digests: set[tuple[type[_Imported], str]] = set()
        self._names: set[tuple[str, str]] = set()
        tables: tuple[Mapping[Any, _Imported], ...] = (
            accounts.users,
            accounts.keys,
            accounts.invitations,
        )
        for row in itertools.chain.from_iterable(table.values() for table in tables):
            self._remember(row)

    def has(self, row: _Imported) -> bool:
        """Whether it is there, by its id or by its secret."""
        kind = type(row)
        return (kind, row.id) in self._ids or (kind, _digest_of(row)) in self._digests

    def add(self, row: _Imported) -> _Imported:
        """Insert *row*, under a name that is free. Raises UnreadableRecord without its owner."""
        if isinstance(row, ApiKey) and row.owner not in self._users:
            raise UnreadableRecord(f"the owner of '{row.name}' was not imported")
        if isinstance(row, User):
            named: _Imported = replace(row, username=self._free("", row.username))
            self._users.add(row.id)
        elif isinstance(row, ApiKey):
            named = replace(row, name=self._free(row.owner, row.name))
        else:
            named = row
        put_account(self._statements, named)
        self._remember(named)
        return named

    def _remember(self, row: _Imported) -> None:
        self._ids.add((type(row), row.id))
        if digest := _digest_of(row):
            self._digests.add((type(row), digest))
        self._names.add((row.owner if isinstance(row, ApiKey) else "", _name_of(row)))

    def _free(self, owner: str, name: str) -> str:
        if (owner, name) not in self._names:
            return name
        return next(other for other in _numbered(name) if (owner, other) not in self._names)


def _numbered(name: str) -> Iterator[str]:
    return (f"{name} ({number})" for number in itertools.count(2))


def _name_of(row: _Imported) -> str:
    match row:
        case User():
            return row.username
        case ApiKey():
            return row.name
        case Invitation():
            return ""


def _digest_of(row: _Imported) -> str:
    return row.digest if isinstance(row, ApiKey | Invitation) else ""


def _user(record: Record, now: datetime) -> User:
    """Somebody whose role is unknown is a viewer."""
    said = record.get("username")
    name = unicodedata.normalize("NFC", said) if isinstance(said, str) else ""
    if problem := username_problem(name):
        raise UnreadableRecord(f"a username {problem}")
    password_hash = text_of(record.get("password_hash"))
    if password_hash is None:
        raise UnreadableRecord(f"'{name}' has no password")
    return User(
        id=UserId(_id(record)),
        username=name,
        password_hash=password_hash,
        role=Role.ADMIN if record.get("role") == Role.ADMIN else Role.VIEWER,
        created_at=instant_of(record.get("created_at")) or now,
        last_login_at=instant_of(record.get("last_login")),
        must_change_password=record.get("must_change_password") not in (None, 0),
    )


def _key(record: Record, now: datetime) -> ApiKey:
    prefix = text_of(record.get("key_prefix")) or ""
    return ApiKey(
        id=KeyId(_id(record)),
        owner=UserId(text_of(record.get("created_by")) or ""),
        name=text_of(record.get("name")) or "imported",
        prefix=prefix if len(prefix) == PREFIX_CHARS else "",  # else it would never be found
        digest=_digest(record, "key_hash"),
        created_at=instant_of(record.get("created_at")) or now,
        permissions=_permissions(record),
        expires_at=_end(record) if record.get("expires_at") is not None else None,
    )


def _invitation(record: Record, now: datetime) -> Invitation:
    """One whose status is unknown is revoked."""
    status, used_by = record.get("status"), text_of(record.get("used_by"))
    known = {one.value for one in InvitationStatus}
    return Invitation(
        id=_id(record),
        digest=_digest(record, "code_hash"),
        created_by=UserId(text_of(record.get("created_by")) or ""),
        created_at=instant_of(record.get("created_at")) or now,
        expires_at=_end(record),
        status=InvitationStatus(status if status in known else "revoked"),
        used_by=None if used_by is None else UserId(used_by),
        used_at=instant_of(record.get("used_at")),
    )


_PARSE: Mapping[str, Callable[[Record, datetime], _Imported]] = {
    "users": _user,
    "api_keys": _key,
    "invitation_codes": _invitation,
}


def _id(record: Record) -> str:
    found = text_of(record.get("id"))
    if found is None:
        raise UnreadableRecord("a record has no id")
    return found


def _digest(record: Record, column: str) -> str:
    found = (text_of(record.get(column)) or "").lower()
    if not _SHA256.fullmatch(found):
        raise UnreadableRecord(f"the {column} of '{_id(record)}' is no SHA-256")
    return found


def _end(record: Record) -> datetime:
    end = instant_of(record.get("expires_at"))
    if end is None:
        raise UnreadableRecord(f"the expires_at of '{_id(record)}' is no instant")
    return end


def _permissions(record: Record) -> frozenset[Permission]:
    """Those known here; of a key that is older than permissions, what its scopes meant."""
    if record.get("permissions") is not None:
        return permissions_of(record["permissions"])
    scopes = json_of(record.get("scopes"))
    named = [s for s in scopes if isinstance(s, str)] if isinstance(scopes, list) else []
    return frozenset[Permission]().union(*(_SCOPES.get(name, frozenset()) for name in named))
