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

OWNER_ONLY = 0o600
"""The database holds the keys of the endpoints, if encrypted."""


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
    lock = FileLock(beside, timeout=0, thread_local=False, mode=OWNER_ONLY)
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
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY))
    except OSError as error:
        raise startup_error(error, database) from None


def restrict(database: Path) -> None:
    """Take the database and its companions from everybody but their owner."""
    for path in _parts(database):
        keep_from_others(path)


def keep_from_others(path: Path) -> None:
    """Take *path*, if it is there, from everybody but its owner; say so where that cannot be."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(OWNER_ONLY)
    except FileNotFoundError:
        return  # the companions of a database come and go
    except OSError as error:
        log.warning("a file may be readable by others", file=str(path), reason=str(error))


def write_for_owner(path: Path, content: bytes, *, anew: bool) -> None:
    """Let *path* hold *content*, wholly or not at all, for its owner alone; durable on return.

    *anew*: refuse to replace a file, by FileExistsError. Raises OSError.
    """
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)  # of a process that ended on the way, with whatever mode
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(beside, flags, OWNER_ONLY), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if anew:
            _name_first(beside, path)
        else:
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _name_first(beside: Path, path: Path) -> None:
    """Give a whole file its name, which no other may have. Raises FileExistsError."""
    try:
        path.hardlink_to(beside)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError from None
        beside.replace(path)


def _sync_directory(path: Path) -> None:
    """Make the names in it durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
