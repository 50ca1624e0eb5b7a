"""How the schema comes to be: numbered files that never change, each in one transaction."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources

from pypika import Column, Query, Table

from llmlb.errors import StartupError
from llmlb.store.columns import instant_text
from llmlb.store.database import transaction
from llmlb.store.sql import insert, sql

_FILE_NAME = re.compile(r"(\d{4})_(\w+)\.sql")
_COLUMNS = ("version", "name", "checksum", "applied_at")
_TABLE = Table("schema_migrations")

_CREATE = sql(
    Query.create_table(_TABLE)
    .columns(
        Column("version", "INTEGER PRIMARY KEY", nullable=False),
        *(Column(name, "TEXT", nullable=False) for name in _COLUMNS[1:]),
    )
    .if_not_exists()
)
REWRITE = sql(Query.update(_TABLE).set(_TABLE.name, _TABLE.name))
"""A write that changes nothing, but is one."""
_SELECT = sql(Query.from_(_TABLE).select("*").orderby(_TABLE.version))
_INSERT = sql(insert(_TABLE, _COLUMNS))


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema. Once released, its text never changes."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def released() -> tuple[Migration, ...]:
    """Every migration that comes with this llmlb, in order."""
    found = []
    for file in resources.files("llmlb.store").joinpath("migrations").iterdir():
        if match := _FILE_NAME.fullmatch(file.name):
            text = file.read_text(encoding="utf-8")
            found.append(Migration(int(match[1]), match[2], text))
    return tuple(sorted(found, key=lambda migration: migration.version))


def migrate(
    connection: sqlite3.Connection, migrations: Sequence[Migration], *, file: str, now: datetime
) -> None:
    """Bring the schema to the last of *migrations*. Raises StartupError and sqlite3.Error.

    After a crash in the middle, the schema is that of the last migration that was completed.
    """
    with transaction(connection) as statements:
        statements.run(_CREATE)
        applied = {row["version"]: row["checksum"] for row in statements.rows(_SELECT)}
    _check(applied, migrations, file)
    for migration in migrations:
        if migration.version in applied:
            continue
        with transaction(connection) as statements:
            for statement in split(migration.text):
                statements.run(statement)
            statements.run(
                _INSERT,
                migration.version,
                migration.name,
                migration.checksum,
                instant_text(now),
            )


def split(text: str) -> Iterator[str]:
    """The single statements of a script.

    `executescript` would commit whatever is open, and with it half a migration.
    """
    statement = ""
    for piece in re.split(r"(?<=;)", text):
        statement += piece
        if sqlite3.complete_statement(statement):
            yield statement.strip()
            statement = ""
    if re.sub(r"(?m)^\s*--.*$", "", statement).strip():
        raise ValueError(f"a migration ends in the middle of a statement: {statement.strip()}")


def is_ours(connection: sqlite3.Connection) -> bool:
    """Whether the table of migrations is there and looks like the one made here."""
    tables = {row[0] for row in connection.execute(_TABLES, ["table"])}
    if _TABLE.get_table_name() not in tables:
        return False
    described = connection.execute(_SELECT).description
    return tuple(column[0] for column in described) == _COLUMNS


def table_names(connection: sqlite3.Connection) -> set[str]:
    """The tables of a database, without SQLite's own."""
    rows = connection.execute(_TABLES, ["table"])
    return {name for (name,) in rows if not name.startswith("sqlite_")}


_MASTER = Table("sqlite_master")
_TABLES = sql(
    Query.from_(_MASTER).select(_MASTER.name).where(_MASTER.type == "table"),
)


def _check(applied: dict[int, str], migrations: Sequence[Migration], file: str) -> None:
    known = {migration.version: migration for migration in migrations}
    newer = applied.keys() - known.keys()
    if newer:
        raise StartupError(
            f"The database {file} was made by a newer llmlb (schema {max(newer)}, this one knows "
            f"{max(known)}): install that version again, or restore an older backup."
        )
    for version, checksum in applied.items():
        if checksum != known[version].checksum:
            raise StartupError(
                f"The database {file} was made by a different build of llmlb (schema {version}, "
                f"'{known[version].name}', is not the released one): install that build again, or "
                "restore a backup."
            )
