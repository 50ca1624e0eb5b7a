"""Where bodies stand that are too large for memory: in files without a name."""

from __future__ import annotations

import errno
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import structlog

from llmlb.errors import InternalError, LbError, Overloaded, StartupError
from llmlb.store.database import ThreadRunner

log = structlog.get_logger()

IN_MEMORY_BYTES = 256 * 1024
"""A body up to this size never touches the disk, and a larger one is written in such pieces."""

READ_BYTES = 256 * 1024

RETRY_AFTER_S = 5

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(slots=True)
class Spool:
    """Owns the count of bytes on disk, over all requests."""

    directory: Path
    limit_bytes: int
    run_in_thread: ThreadRunner
    """The disk may be slow, and the event loop does not wait for it."""
    held_bytes: int = 0

    def prepare(self) -> None:
        """Make the directory. Raises StartupError."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.directory):
                pass
        except OSError as error:
            raise StartupError(
                f"Uploads cannot be kept in {self.directory}: {error.strerror or error}. "
                "Set LLMLB_SPOOL_DIR to a directory that can be written."
            ) from None

    def take(self, n_bytes: int) -> None:
        """Count *n_bytes* more. Raises Overloaded."""
        if self.held_bytes + n_bytes > self.limit_bytes:
            raise _no_room("Too many bytes of request bodies are on disk")
        self.held_bytes += n_bytes

    def give_back(self, n_bytes: int) -> None:
        self.held_bytes -= n_bytes


class SpooledFile:
    """Bytes that are written once, in order, and read as often as need be.

    The file never has a name, so it is gone with its last descriptor, however that ends.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._recent = bytearray()
        """What is not on disk yet."""
        self._on_disk_bytes = self._counted_bytes = 0
        self._fd: int | None = None
        self._closed = False

    @property
    def size_bytes(self) -> int:
        return self._on_disk_bytes + len(self._recent)

    async def write(self, data: bytes) -> None:
        """Append *data*. Raises Overloaded, InternalError."""
        self._recent += data
        if len(self._recent) > IN_MEMORY_BYTES:
            await self._to_disk()

    async def read(self, start: int, end: int) -> bytes:
        """The bytes from *start* on, up to *end* or to the end of a piece. Raises InternalError."""
        if start >= self._on_disk_bytes:
            return bytes(self._recent[start - self._on_disk_bytes : end - self._on_disk_bytes])
        n_bytes = min(READ_BYTES, end - start, self._on_disk_bytes - start)
        return await self._read(n_bytes, start)

    def close(self) -> None:
        """Give everything back. Works while being cancelled, and a second time."""
        if self._closed:
            return
        self._closed = True
        self._recent.clear()
        self._spool.give_back(self._counted_bytes)
        if self._fd is not None:
            os.close(self._fd)

    async def _to_disk(self) -> None:
        piece = bytes(self._recent)
        self._spool.take(len(piece))
        self._counted_bytes += len(piece)
        try:
            await self._spool.run_in_thread(lambda: self._append(piece))
        except OSError as error:
            raise _as_error(error, "written") from None
        self._on_disk_bytes += len(piece)
        self._recent.clear()

    def _append(self, piece: bytes) -> None:
        if self._fd is None:
            with tempfile.TemporaryFile(dir=self._spool.directory) as file:
                self._fd = os.dup(file.fileno())
        view, at = memoryview(piece), self._on_disk_bytes
        while view:
            n_bytes = os.pwrite(self._fd, view, at)
            view, at = view[n_bytes:], at + n_bytes

    async def _read(self, n_bytes: int, at: int) -> bytes:
        fd = self._fd
        if fd is None or self._closed:
            raise InternalError("A request's body was closed while it was being sent.")
        try:
            piece = await self._spool.run_in_thread(lambda: os.pread(fd, n_bytes, at))
        except OSError as error:
            raise _as_error(error, "read") from None
        if len(piece) != n_bytes:
            raise InternalError("A request's body could not be read again from disk.")
        return piece


def _as_error(error: OSError, done: str) -> LbError:
    if error.errno in _NO_ROOM:
        log.error("no room for a request's body", reason=error.strerror)
        return _no_room("There is no room for the body on the balancer's disk")
    log.error("the disk failed a request's body", what=done, reason=error.strerror)
    return InternalError(f"The request's body could not be {done} on the balancer's disk.")


def _no_room(why: str) -> Overloaded:
    return Overloaded(f"{why}; try again in a moment.", retry_after_s=RETRY_AFTER_S)
