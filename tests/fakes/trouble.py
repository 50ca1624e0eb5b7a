"""What can befall a database file under a running process, and how it ends."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from llmlb.store.opening import Store

Trouble = Callable[[Store, Path], AbstractContextManager[None]]

WHOLE = [("ok",)]
"""What an integrity check finds in a database that is in order."""


@contextmanager
def locked(_: Store, database: Path) -> Iterator[None]:
    """Another program holds the only right to write."""
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.close()


@contextmanager
def full(store: Store, _: Path) -> Iterator[None]:
    """No page more can be had."""
    _set(store, "PRAGMA max_page_count = 1")
    try:
        yield
    finally:
        _set(store, "PRAGMA max_page_count = 1000000")


@contextmanager
def read_only(store: Store, _: Path) -> Iterator[None]:
    _set(store, "PRAGMA query_only = ON")
    try:
        yield
    finally:
        _set(store, "PRAGMA query_only = OFF")


@contextmanager
def moved_away(_: Store, database: Path) -> Iterator[None]:
    """The file has another name for a while."""
    elsewhere = database.with_suffix(".elsewhere")
    database.rename(elsewhere)
    try:
        yield
    finally:
        elsewhere.rename(database)


@contextmanager
def log_moved_away(_: Store, database: Path) -> Iterator[None]:
    """Its write-ahead log has another name for a while."""
    log = Path(f"{database}-wal")
    with moved_away(_, log):
        yield


@contextmanager
def directory_moved_away(_: Store, database: Path) -> Iterator[None]:
    elsewhere = database.parent.with_name("elsewhere")
    database.parent.rename(elsewhere)
    try:
        yield
    finally:
        elsewhere.rename(database.parent)


PASSING: dict[str, Trouble] = {
    "locked": locked,
    "full": full,
    "read-only": read_only,
    "moved away": moved_away,
    "its log moved away": log_moved_away,
    "its directory moved away": directory_moved_away,
}
"""What ends, so that the database is well again."""


def remove_file(database: Path) -> None:
    database.unlink()


def remove_all(database: Path) -> None:
    shutil.rmtree(database.parent)


def replace(database: Path) -> None:
    """Put a backup in its place, as one should not while it is open."""
    with backup(database) as copy:
        copy.replace(database)


FOR_GOOD: dict[str, Callable[[Path], None]] = {
    "file removed": remove_file,
    "directory removed": remove_all,
    "file replaced": replace,
}
"""What only a restart ends."""


@contextmanager
def backup(database: Path) -> Iterator[Path]:
    """A complete copy, beside it."""
    copy = database.with_suffix(".backup")
    source, target = sqlite3.connect(database), sqlite3.connect(copy)
    source.backup(target)
    target.close()
    source.close()
    yield copy


def integrity(database: Path) -> list[tuple[str]]:
    """What SQLite finds when it reads all of the file, in another connection."""
    connection = sqlite3.connect(database)
    try:
        return connection.execute("PRAGMA integrity_check").fetchall()
    finally:
        connection.close()


def _set(store: Store, pragma: str) -> None:
    """Behind the store's back: nothing of it may run meanwhile."""
    store._database._connection.execute(pragma).fetchall()
