"""A ByteStream over a socket: whatever can be done at once is done without waiting."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

import trio
from trio.lowlevel import checkpoint, notify_closing, wait_readable, wait_writable

from llmlb.http.streams.byte_stream import READ_BYTES, StreamBroken
from llmlb.http.streams.peer_watch import peer_watch

TURNS = 8
"""After so many reads, or writes, that did not have to wait, the others get their turn."""

CLOSE_WITHIN_S = 1.0

_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class SocketStream:
    """Owns a connected socket. See ByteStream.

    Trio's own SocketStream passes through its scheduler at every call, which costs more than the
    call itself. Here the system is asked first, and waiting is for when it has nothing.
    """

    __slots__ = ("_empty", "_fd", "_look", "_reads", "_sock", "_tell", "_watched", "_writes")

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(0)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._fd = sock.fileno()
        self._reads = self._writes = 0
        self._empty = False
        """Nothing is to be expected there: all has been read, or a question has been sent since. To
        look for it in vain would cost more than to wait for what is there."""
        self._look = select.poll()
        self._look.register(self._fd, select.POLLIN)
        self._tell: Callable[[], None] | None = None
        self._watched = False

    @property
    def peer_gone(self) -> bool:
        """See ByteStream. True of anything that could be read now, be it bytes or the end."""
        # To peek would say the same, but saying "nothing" by an exception takes five times as long.
        return self._fd < 0 or bool(self._look.poll(0))

    @property
    def said_all(self) -> bool:
        """Whether nothing more can be read, as far as can be told without waiting."""
        try:
            return not self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True  # reset, or closed on this side

    def on_peer_gone(self, tell: Callable[[], None] | None) -> None:
        # Once watched it stays so to its end: asking anew for every request costs nothing then.
        self._tell = tell
        if tell is not None and not self._watched and self._fd >= 0:
            self._watched = True
            peer_watch().add(self._fd, self)

    def peer_has_gone(self) -> None:
        """The watch says so."""
        tell, self._tell, self._watched = self._tell, None, False
        if tell is not None:
            tell()

    async def receive_some(self) -> bytes:
        wait = self._empty
        self._empty = False
        if self._reads >= TURNS:
            self._reads = 0
            await checkpoint()
        while True:
            if wait and self._fd >= 0:
                self._reads = 0
                try:
                    await wait_readable(self._fd)
                except trio.ClosedResourceError as error:
                    raise StreamBroken from error
            try:
                data = self._sock.recv(READ_BYTES)
            except BlockingIOError:
                wait = True
            except OSError as error:
                raise StreamBroken from error
            else:
                self._reads += 1
                self._empty = len(data) < READ_BYTES
                return data

    async def send_all(self, data: bytes) -> None:
        if self._writes >= TURNS:
            self._writes = 0
            await checkpoint()
        sent = self._send(data)
        self._empty = True
        self._writes += 1
        if sent == len(data):
            return
        with memoryview(data) as rest:
            while sent < len(rest):
                self._writes = 0
                try:
                    await wait_writable(self._fd)
                except trio.ClosedResourceError as error:
                    raise StreamBroken from error
                sent += self._send(rest[sent:])

    def _send(self, data: bytes | memoryview) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise StreamBroken from error

    def detach(self) -> socket.socket:
        """The socket, which is somebody else's from here on: this stream has no more to do with it.

        Raises StreamBroken if it has been closed.
        """
        fd, self._fd = self._fd, -1
        if fd < 0:
            raise StreamBroken
        if self._watched:
            peer_watch().remove(fd)
        return self._sock

    def abort(self) -> None:
        with suppress(OSError):  # it has been closed
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        self.close()

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            if self._watched:
                peer_watch().remove(fd)
            notify_closing(fd)
            self._sock.close()

    async def aclose(self) -> None:
        """See ByteStream: to close with bytes unread would take back those that were sent last."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
            with trio.move_on_after(CLOSE_WITHIN_S):
                while await self.receive_some():
                    pass
        except (OSError, StreamBroken):
            return  # it is closed, or gone
        finally:
            self.close()
