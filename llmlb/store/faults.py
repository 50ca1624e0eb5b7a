"""What a database's failure means for people: why it happened and what to do about it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from llmlb.errors import StartupError, StoreUnavailable


class FileMoved(sqlite3.OperationalError):
    """The path of the database leads to another file, or to none: what is written is lost."""


class KeyFileRefused(sqlite3.OperationalError):
    """There is no key to encrypt a secret with, and none can be kept."""


_ELSEWHERE = "or set LLMLB_DATABASE_URL to another file"

_WHY = {
    sqlite3.SQLITE_PERM: "it is not writable",
    sqlite3.SQLITE_READONLY: "it is not writable",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_BUSY: "another program keeps it locked",
    sqlite3.SQLITE_LOCKED: "another program keeps it locked",
    sqlite3.SQLITE_IOERR: "its disk reports an error",
    sqlite3.SQLITE_FULL: "its disk is full",
    sqlite3.SQLITE_CORRUPT: "it is damaged",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite database",
}

_REMEDY = {
    sqlite3.SQLITE_PERM: f"make it and its directory writable, {_ELSEWHERE}",
    sqlite3.SQLITE_READONLY: f"make it and its directory writable, {_ELSEWHERE}",
    sqlite3.SQLITE_CANTOPEN: f"make it and its directory writable, {_ELSEWHERE}",
    sqlite3.SQLITE_BUSY: "stop that program",
    sqlite3.SQLITE_LOCKED: "stop that program",
    sqlite3.SQLITE_IOERR: f"check the disk, {_ELSEWHERE}",
    sqlite3.SQLITE_FULL: f"free some space, {_ELSEWHERE}",
    sqlite3.SQLITE_CORRUPT: f"restore it from a backup, {_ELSEWHERE}",
    sqlite3.SQLITE_NOTADB: f"move it away, {_ELSEWHERE}",
}


_MOVED = "its file was moved, removed or replaced"
_NO_KEY = "its key file cannot be written"
_REMEDY_FOR_NO_KEY = "make the data directory writable, or set LLMLB_SECRET_KEY"

_MEANWHILE = {
    sqlite3.SQLITE_BUSY: "try again when that program has finished",
    sqlite3.SQLITE_LOCKED: "try again when that program has finished",
    sqlite3.SQLITE_FULL: "free some space and try again",
    sqlite3.SQLITE_READONLY: "make it writable and try again",
    sqlite3.SQLITE_IOERR: "check the disk",
}
"""What helps a running llmlb; for all else the way is a restart, which says more."""

RETRY_AFTER_S = 10
"""For clients: by then the condition of the database has been looked at again."""


def startup_error(error: sqlite3.Error | OSError, path: Path) -> StartupError:
    """One sentence that names the database file, the reason and the remedy."""
    if isinstance(error, OSError):
        why, remedy = error.strerror or str(error), _REMEDY[sqlite3.SQLITE_CANTOPEN]
    elif isinstance(error, KeyFileRefused):
        why, remedy = str(error), _REMEDY_FOR_NO_KEY
    else:
        code = _primary(error)
        why = _WHY.get(code, str(error))
        remedy = _REMEDY.get(code, f"check the file, {_ELSEWHERE}")
    return StartupError(f"The database {path} cannot be used ({why}): {remedy}.")


def unavailable(error: sqlite3.Error) -> StoreUnavailable:
    """The same for a client, who learns no path and no SQL."""
    if isinstance(error, FileMoved):
        remedy = "put it back, or restart llmlb"
    elif isinstance(error, KeyFileRefused):
        remedy = _REMEDY_FOR_NO_KEY
    else:
        remedy = _MEANWHILE.get(_primary(error), "look into the log of llmlb")
    return StoreUnavailable(
        f"The database is not available ({reason(error)}) and nothing was changed: {remedy}.",
        retry_after_s=RETRY_AFTER_S,
    )


def reason(error: sqlite3.Error) -> str:
    """Why the database refuses, in a few words without path and SQL."""
    if isinstance(error, FileMoved):
        return _MOVED
    if isinstance(error, KeyFileRefused):
        return _NO_KEY
    return _WHY.get(_primary(error), "the log has the details")


def _primary(error: sqlite3.Error) -> int:
    """SQLite's own code; errors that Python's module raises by itself have none."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF
