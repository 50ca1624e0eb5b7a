"""Users, keys and invitations, over restarts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from pypika import Query, Table

from llmlb.accounts import Accounts, KeyId, Row, User
from llmlb.store.account_rows import COLUMNS, READ, values_of
from llmlb.store.columns import instant_text
from llmlb.store.database import Database, Transaction
from llmlb.store.sql import VALUE, insert, sql, update_by

_SELECT = {kind: sql(Query.from_(Table(name)).select("*")) for kind, (name, _) in COLUMNS.items()}
_INSERT = {kind: sql(insert(Table(name), columns)) for kind, (name, columns) in COLUMNS.items()}
_UPDATE = {
    kind: sql(update_by(Table(name), "id", columns)) for kind, (name, columns) in COLUMNS.items()
}
_DELETE = {
    kind: sql(Query.from_(Table(name)).delete().where(Table(name).id == VALUE))
    for kind, (name, _) in COLUMNS.items()
}
_USED = sql(update_by(Table("api_keys"), "id", ("last_used_at",)))

_ORDER = (User, *(kind for kind in COLUMNS if kind is not User))
"""Users come before what refers to them."""


class AccountRepository:
    """The stored accounts. Every method raises StoreUnavailable when the database refuses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> Accounts:
        """Everybody and everything that may get in."""
        return await self._database.read(load_accounts)

    async def change(self, put: Iterable[Row], drop: Iterable[Row]) -> None:
        """Remove *drop*, keep *put*; durable on return, all or nothing."""

        def work(statements: Transaction) -> None:
            for row in drop:
                statements.run(_DELETE[type(row)], row.id)
            for row in put:
                put_account(statements, row)

        await self._database.write(work)


def load_accounts(statements: Transaction) -> Accounts:
    """The view of all that is stored. Raises sqlite3.Error."""
    return Accounts.of(READ[kind](row) for kind in _ORDER for row in statements.each(_SELECT[kind]))


def put_account(statements: Transaction, row: Row) -> None:
    """Keep *row*, be it new or not. Raises sqlite3.Error."""
    values = values_of(row)
    if not statements.run(_UPDATE[type(row)], *values, row.id):
        statements.run(_INSERT[type(row)], *values)


def write_key_uses(statements: Transaction, uses: Mapping[KeyId, datetime]) -> None:
    """When keys were used last; keys that are gone are left out. Raises sqlite3.Error."""
    for key_id, at in uses.items():
        statements.run(_USED, instant_text(at), key_id)
