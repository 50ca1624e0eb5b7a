"""What operators have set on the dashboard, by name."""

from __future__ import annotations

from datetime import datetime

from pypika import Query, Table
from pypika import functions as fn

from llmlb.store.columns import instant_text
from llmlb.store.database import Database, Transaction
from llmlb.store.sql import VALUE, insert, sql, update_by

MOST_SETTINGS = 100

_SETTINGS = Table("dashboard_settings")
_COLUMNS = ("value", "updated_at", "key")

_GET = sql(Query.from_(_SETTINGS).select(_SETTINGS.value).where(_SETTINGS.key == VALUE))
_SET = sql(update_by(_SETTINGS, "key", _COLUMNS[:2]))
_ADD = sql(insert(_SETTINGS, _COLUMNS))
_COUNT = sql(Query.from_(_SETTINGS).select(fn.Count("*").as_("total")))


class DashboardSettings:
    """Texts by key. Every method raises StoreUnavailable when the database refuses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, key: str) -> str:
        """What *key* is set to; nothing if it is not."""

        def get(statements: Transaction) -> str:
            return next((str(row["value"]) for row in statements.rows(_GET, key)), "")

        return await self._database.read(get)

    async def put(self, key: str, value: str, now: datetime) -> bool:
        """Set *key*; False if there are too many already."""

        def put(statements: Transaction) -> bool:
            row = (value, instant_text(now), key)
            if statements.run(_SET, *row):
                return True
            (count,) = statements.rows(_COUNT)
            if count["total"] >= MOST_SETTINGS:
                return False
            statements.run(_ADD, *row)
            return True

        return await self._database.write(put)
