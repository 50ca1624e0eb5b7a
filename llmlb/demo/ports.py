"""Whether a port can be had, and who holds it if not."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from pathlib import Path

LOOPBACK = "127.0.0.1"

_LISTENING = "0A"
"""The state column of /proc/net/tcp."""


def free_port(host: str = LOOPBACK) -> int:
    """A port that nobody listens on now.

    Another process can take it before the caller does: whoever binds it has to report that.
    """
    with socket.socket() as listener:
        listener.bind((host, 0))
        port: int = listener.getsockname()[1]
    return port


def why_not_bindable(port: int, host: str = LOOPBACK) -> str | None:
    """The reason that *port* cannot be listened on, as the rest of a sentence; None if it can."""
    with socket.socket() as listener:
        # as servers do: connections that linger from an earlier run are no obstacle
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                holder = holder_of(port)
                return f"is in use by {holder}" if holder else "is in use by another process"
            return f"cannot be listened on ({error.strerror})"
    return None


def holder_of(port: int, proc: Path = Path("/proc")) -> str | None:
    """`process 123 (name)` that listens on *port*, where the system lets us see it."""
    inodes = set(_listening_inodes(port, proc))
    if not inodes:
        return None
    for process in proc.glob("[0-9]*"):
        if inodes & set(_socket_inodes(process)):
            return f"process {process.name} ({_command(process)})"
    return None


def _listening_inodes(port: int, proc: Path) -> Iterator[str]:
    for table in ("net/tcp", "net/tcp6"):
        for line in _lines(proc / table)[1:]:
            columns = line.split()
            local_port = int(columns[1].rpartition(":")[2], 16)
            if local_port == port and columns[3] == _LISTENING:
                yield columns[9]


def _socket_inodes(process: Path) -> Iterator[str]:
    try:
        for descriptor in (process / "fd").iterdir():
            target = str(descriptor.readlink())
            if target.startswith("socket:["):
                yield target.removeprefix("socket:[").removesuffix("]")
    except OSError:
        return  # it has ended, or belongs to somebody else


def _command(process: Path) -> str:
    words = "".join(_lines(process / "cmdline")).split("\0")
    return " ".join(words).strip()[:100] or "name not known"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []  # not Linux, or the process has ended
