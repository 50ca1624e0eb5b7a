"""The secrets that sign sessions: in a file for its owner alone, and new ones from time to time."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from llmlb.errors import StartupError
from llmlb.store.columns import instant_of, instant_text

log = structlog.get_logger()

FILE_NAME = "session.keys"
ROTATED_AFTER = timedelta(days=30)
KEPT_AFTER_ROTATION = timedelta(hours=25)
"""What was signed with an older one lasts for 24 h."""

_OWNER_ONLY = 0o600
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class SessionKey:
    """One secret, by an id that tokens name it by."""

    id: str
    secret: bytes = field(repr=False)
    made_at: datetime

    def due(self, now: datetime) -> bool:
        """Whether it is time for another one, also after a clock that was far ahead."""
        return not timedelta(0) <= now - self.made_at < ROTATED_AFTER


def new_session_key(now: datetime) -> SessionKey:
    """256 random bits, and an id to name them by."""
    return SessionKey(secrets.token_hex(4), secrets.token_bytes(_SECRET_BYTES), now)


def session_keys(directory: Path | None, now: datetime) -> tuple[SessionKey, ...]:
    """The keys, the newest first, after making a new one if it is time for it.

    Without a *directory* they are in memory alone, and sessions end with the process. Blocks.
    Raises StartupError. A file of which nothing can be read is replaced: all sessions end then.
    """
    if directory is None:
        return (new_session_key(now),)
    path = directory / FILE_NAME
    try:
        known = _read(path)
        keys = _current(known, now)
        if keys != known:
            _write(path, keys)
    except OSError as error:
        raise StartupError(
            f"The file {path} cannot be read or written ({error.strerror}): make it and its "
            "directory writable for this user."
        ) from None
    return keys


def out_of_date(keys: Sequence[SessionKey], now: datetime) -> bool:
    """Whether `session_keys` would make others of them."""
    return keys[0].due(now) or _current(keys, now) != tuple(keys)


def _current(known: Sequence[SessionKey], now: datetime) -> tuple[SessionKey, ...]:
    """The keys to use: a new one if it is time, and one before it while sessions need it."""
    if not known:
        return (new_session_key(now),)
    newest = known[0]
    if newest.due(now):
        # one from the future was made by a clock that was wrong: it would never be due
        return (new_session_key(now), newest)
    if now - newest.made_at >= KEPT_AFTER_ROTATION:
        return (newest,)
    return tuple(known[:2])


def _read(path: Path) -> tuple[SessionKey, ...]:
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return ()
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(_OWNER_ONLY)
        log.warning("the secrets of sessions could be read by others, and cannot now")
    found = []
    for line in text.splitlines():
        with suppress(ValueError):
            key_id, made_at, secret = line.split()
            made, raw = instant_of(made_at), bytes.fromhex(secret)
            if made is not None and len(raw) == _SECRET_BYTES:
                found.append(SessionKey(key_id, raw, made))
    if text.strip() and not found:
        log.warning("the secrets of sessions cannot be read and are made anew", file=str(path))
    return tuple(found)


def _write(path: Path, keys: Sequence[SessionKey]) -> None:
    """Replace the file as a whole, durably."""
    beside = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        beside.unlink()
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER_ONLY)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        for key in keys:
            file.write(f"{key.id} {instant_text(key.made_at)} {key.secret.hex()}\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
