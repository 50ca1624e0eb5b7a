"""What HTTP needs of a connection, whoever is at its other end; it knows no sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

READ_BYTES = 64 * 1024
"""At most so much is taken from a connection at once."""


class StreamBroken(Exception):
    """The connection is gone: it was reset, or closed on this side. Nothing more will pass."""


class ByteStream(Protocol):
    """One connection: bytes in, bytes out. Read by one task at a time, and written by one.

    Nothing here is bounded in time: whoever calls knows how long the other end may take.
    """

    @property
    def peer_gone(self) -> bool:
        """Whether the other end has closed, as far as can be told without waiting.

        Of a connection on which nothing is due, anything that has come means the same: what the
        next answer would begin with is not known any more.
        """
        ...

    def on_peer_gone(self, tell: Callable[[], None] | None) -> None:
        """Have *tell* called, once, when the other end closes; None: not any more.

        It is called at once if it has closed already, and never from within another call to this
        stream. What it said last may still be unread.
        """
        ...

    async def receive_some(self) -> bytes:
        """What comes next, at most READ_BYTES; empty: the other end says no more.

        Cancelled, it has taken nothing. Raises StreamBroken.
        """
        ...

    async def send_all(self, data: bytes) -> None:
        """Send *data*; returns when the system has taken all of it.

        Cancelled, part of it may have been sent: only closing is left then. Raises StreamBroken.
        """
        ...

    def abort(self) -> None:
        """Close at once, and throw away what the other end has not taken yet."""
        ...

    def close(self) -> None:
        """Close at once, without waiting for anything; as often as one likes."""
        ...

    async def aclose(self) -> None:
        """Close in good order, as far as that is done in a second; as often as one likes."""
        ...
