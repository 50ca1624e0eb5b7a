"""Which older files have been imported, and what became of each of their records."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from enum import StrEnum

from pypika import Query, Table

from llmlb.store.columns import instant_text
from llmlb.store.database import Transaction
from llmlb.store.older import Unimportable
from llmlb.store.redaction import redacted
from llmlb.store.sql import VALUE, insert, sql

_IMPORTS = Table("imports")
_RECORDS = Table("import_records")

_IMPORTED = sql(
    Query.from_(_IMPORTS)
    .select(_IMPORTS.id)
    .where(_IMPORTS.file_name == VALUE)
    .where(_IMPORTS.sha256 == VALUE)
)
_IMPORTED_NAME = sql(Query.from_(_IMPORTS).select(_IMPORTS.id).where(_IMPORTS.file_name == VALUE))
_BEGIN = sql(insert(_IMPORTS, ("file_name", "sha256", "imported_at")))
_NOTE = sql(
    insert(_RECORDS, ("import_id", "record_number", "record_id", "outcome", "remark", "record"))
)
_HANDLED = sql(
    Query.from_(_RECORDS)
    .select(_RECORDS.record_number)
    .where(_RECORDS.record_id == VALUE)
    .where(_RECORDS.import_id != VALUE)
    .where(_RECORDS.outcome != VALUE)
)
_KEPT = sql(
    Query.from_(_RECORDS)
    .select(_RECORDS.import_id, _RECORDS.record_number)
    .where(_RECORDS.record.notnull())
)
_ONE = (_RECORDS.import_id == VALUE) & (_RECORDS.record_number == VALUE)
_READ = sql(Query.from_(_RECORDS).select(_RECORDS.record).where(_ONE))
_REPLACE = sql(Query.update(_RECORDS).set(_RECORDS.record, VALUE).where(_ONE))


class Fate(StrEnum):
    """What became of a record."""

    IMPORTED = "imported"
    KNOWN = "known"
    """It was imported before, and may have been deleted since."""
    SAME_URL = "same_url"
    """Another endpoint with its URL came first."""
    UNREADABLE = "unreadable"


def imported_before(statements: Transaction, file_name: str, sha256: str | None = None) -> bool:
    """Whether this very file (or, without its sum, any file of the name) was imported."""
    if sha256 is None:
        return bool(statements.rows(_IMPORTED_NAME, file_name))
    return bool(statements.rows(_IMPORTED, file_name, sha256))


def redact_records(statements: Transaction) -> None:
    """Take the secrets from records that older versions have kept whole."""
    for row in statements.rows(_KEPT):  # their places alone: all records may be large
        place = (row["import_id"], row["record_number"])
        (found,) = statements.rows(_READ, *place)
        kept = redacted(str(found["record"]))
        if kept != found["record"]:
            statements.run(_REPLACE, kept, *place)


class Report:
    """What becomes of one file's records, written beside the rows they become."""

    def __init__(self, statements: Transaction, file_name: str, sha256: str, now: datetime) -> None:
        self.file_name = file_name
        self.fates: Counter[Fate] = Counter()
        self.first_problem: str | None = None
        self._statements = statements
        statements.run(_BEGIN, file_name, sha256, instant_text(now))
        self._id: int = statements.rows(_IMPORTED, file_name, sha256)[0]["id"]

    def handled_before(self, record_id: str) -> bool:
        """Whether another file brought this record."""
        return bool(self._statements.rows(_HANDLED, record_id, self._id, Fate.UNREADABLE.value))

    def note(
        self,
        number: int,
        fate: Fate,
        *,
        record_id: str | None = None,
        remark: str | None = None,
        record: object = None,
    ) -> None:
        """Keep the fate of one record; also itself, less its secrets, where it was not imported."""
        self.fates[fate] += 1
        # What was lost is worth more words than what was renamed.
        lost = fate is Fate.UNREADABLE and self.fates[fate] == 1
        if remark is not None and (self.first_problem is None or lost):
            self.first_problem = f"record {number}: {remark}"
        kept = None if record is None else redacted(json.dumps(record, default=str))
        self._statements.run(_NOTE, self._id, number, record_id, fate.value, remark, kept)

    def refuse_if_nothing_readable(self) -> None:
        """Undo an import that found records but understood none. Raises Unimportable."""
        if set(self.fates) == {Fate.UNREADABLE}:
            raise Unimportable(f"nothing in it could be read ({self.first_problem})")
