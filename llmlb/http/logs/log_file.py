"""How entries get into a file of bounded size, without anybody waiting for the disk."""

from __future__ import annotations

import logging
import os
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path
from queue import Full, Queue
from threading import Thread
from typing import TYPE_CHECKING

import structlog

from llmlb.errors import StartupError
from llmlb.store.files import OWNER_ONLY

if TYPE_CHECKING:
    from io import TextIOWrapper

log = structlog.get_logger()

FILE_BYTES, OLDER_FILES = 10 * 1024 * 1024, 5
"""A file of so much is renamed to `….1`, and the one of that name to `….2`."""

MOST_WAITING = 1000
"""Entries that may wait for a slow disk; those that come then are lost, and counted."""

CLOSING_LIMIT_S = 2.0


class LogFile:
    """Owns the log file and the thread that writes it."""

    def __init__(
        self, path: Path, *, file_bytes: int = FILE_BYTES, older_files: int = OLDER_FILES
    ) -> None:
        """Raises StartupError if it cannot be written."""
        self.path = path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = _Rotating(path, maxBytes=file_bytes, backupCount=older_files)
        except OSError as error:
            raise StartupError(
                f"LLMLB_LOG_FILE={path} cannot be written ({error.strerror}): choose another file."
            ) from None
        self._waiting = Queue[str | None](MOST_WAITING)
        self._lost = 0
        self._writer = Thread(target=self._write, name="log file", daemon=True)
        self._writer.start()

    def write(self, line: str) -> None:
        """Have *line* written soon. From any thread; never blocks."""
        try:
            self._waiting.put_nowait(line)
        except Full:
            self._lost += 1

    def close(self) -> None:
        """Write what waits, and end; a disk that hangs is waited for no longer than 4 s."""
        try:
            self._waiting.put(None, timeout=CLOSING_LIMIT_S)
        except Full:
            return  # the thread ends with the process
        self._writer.join(CLOSING_LIMIT_S)

    def _write(self) -> None:
        while (line := self._waiting.get()) is not None:
            self._file.handle(logging.makeLogRecord({"msg": line}))
            if self._waiting.empty():
                self._tell_lost()
        self._tell_lost()
        self._file.close()

    def _tell_lost(self) -> None:
        lost, self._lost = self._lost, 0
        if lost:
            log.warning("the disk was too slow for the log file", lost_entries=lost)


class _Rotating(RotatingFileHandler):
    """A file for its owner alone; trouble with it is told when it begins and when it ends."""

    def __init__(self, path: Path, *, maxBytes: int, backupCount: int) -> None:  # noqa: N803
        self._trouble: str | None = None
        super().__init__(path, maxBytes=maxBytes, backupCount=backupCount, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.fdopen(os.open(self.baseFilename, flags, OWNER_ONLY), "a", encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        before, self._trouble = self._trouble, None
        super().emit(record)
        self._tell_of_change(before)

    def _tell_of_change(self, before: str | None) -> None:
        if self._trouble and not before:
            log.error("the log file cannot be written", reason=self._trouble)
        elif before and not self._trouble:
            log.info("the log file is written again")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - its base's
        self._trouble = str(sys.exception())
