"""Who may read the database and who holds it: modes of its files, and the lock beside it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import structlog
from filelock import FileLock, Timeout

from llmlb.errors import StartupError
from llmlb.store.faults import startup_error

log = structlog.get_logger()

_SUFFIXES = ("", "-wal", "-shm")
"""Of the files that make up an open database."""

_OWNER_ONLY = 0o600
"""The database holds the keys of the endpoints."""


def make_directory(path: Path) -> None:
    """Create *path*, for its owner alone, unless it is there. Raises StartupError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartupError(
            f"The directory {path} cannot be made ({error.strerror}): make its parent writable, "
            "or set LLMLB_DATA_DIR or LLMLB_DATABASE_URL to another place."
        ) from None


def take_lock(database: Path) -> FileLock:
    """Hold *database* against other processes; the lock dies with this one. Raises StartupError.

    The operating system releases it however the process ends, which a file with a process id
    in it would not.
    """
    beside = Path(f"{database}.lock")
    lock = FileLock(beside, timeout=0, thread_local=False, mode=_OWNER_ONLY)
    try:
        lock.acquire()
    except Timeout:
        if not beside.exists():  # filelock tells "held" and "cannot be made" alike
            raise StartupError(
                f"The lock {beside} cannot be made: make its directory writable, or set "
                "LLMLB_DATABASE_URL to another file."
            ) from None
        raise StartupError(
            f"The database {database} is in use by another llmlb: stop that one first, "
            "or set LLMLB_DATABASE_URL to another file."
        ) from None
    except OSError as error:
        raise startup_error(error, database) from None
    return lock


def create(database: Path) -> None:
    """Make an empty file for its owner alone, unless there is one. Raises StartupError.

    SQLite gives `-wal` and `-shm` the mode of this file.
    """
    try:
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _OWNER_ONLY))
    except OSError as error:
        raise startup_error(error, database) from None


def restrict(database: Path) -> None:
    """Take the database and its companions from everybody but their owner."""
    for path in _parts(database):
        try:
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                path.chmod(_OWNER_ONLY)
        except FileNotFoundError:
            continue  # the companions come and go
        except OSError as error:
            log.warning("the database may be readable by others", file=str(path), reason=str(error))


class OpenFiles:
    """Owns the lock of an open database, and knows which files were opened.

    An open file can be removed or replaced. What is written then is lost without an error, and
    SQLite notices only outside of WAL mode, so that we look.
    """

    def __init__(self, database: Path, lock: FileLock) -> None:
        """To be called when all of its files have come to be."""
        self._lock = lock
        self._opened = {path: _identity(path) for path in _parts(database)}

    @property
    def moved(self) -> bool:
        """Whether a path leads to another file by now, or to none. A few microseconds."""
        return any(
            _identity(path) != identity
            for path, identity in self._opened.items()
            if identity is not None
        )

    def release(self) -> None:
        """Let other processes have the database."""
        self._lock.release()


def _parts(database: Path) -> list[Path]:
    return [Path(f"{database}{suffix}") for suffix in _SUFFIXES]


def _identity(path: Path) -> tuple[int, int] | None:
    """What stays the same under another name; None for no file, or none that can be reached."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
