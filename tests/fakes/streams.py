"""Connections in memory, for whatever speaks HTTP over a ByteStream."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from llmlb.http.streams.byte_stream import READ_BYTES, ByteStream, StreamBroken


class _Way:
    """The bytes in one direction."""

    def __init__(self, window_bytes: float) -> None:
        self.window_bytes = window_bytes
        self.waiting = bytearray()
        self.ended = False
        """The writer has closed."""
        self.deaf = False
        """The reader has closed."""
        self._moved = trio.Event()

    def moved(self) -> None:
        moved, self._moved = self._moved, trio.Event()
        moved.set()

    async def move(self) -> None:
        await self._moved.wait()


class MemoryStream:
    """One end of a connection in memory. See ByteStream."""

    def __init__(self, to_read: _Way, to_write: _Way) -> None:
        self._in, self._out = to_read, to_write
        self._closed = False
        self._tell: Callable[[], None] | None = None
        self.other: MemoryStream
        self.blind = False
        """It never looks as if the other end had gone."""
        self.on_close: Callable[[], None] = lambda: None

    @property
    def peer_gone(self) -> bool:
        if self.blind:
            return False
        return self._closed or self._in.ended or bool(self._in.waiting)

    def on_peer_gone(self, tell: Callable[[], None] | None) -> None:
        self._tell = tell
        if tell is not None and self._in.ended:
            trio.lowlevel.spawn_system_task(self._told_soon)

    async def receive_some(self, max_bytes: int = READ_BYTES) -> bytes:
        await trio.lowlevel.checkpoint()
        while True:
            if self._closed:
                raise StreamBroken
            if self._in.waiting:
                data = bytes(self._in.waiting[:max_bytes])
                del self._in.waiting[:max_bytes]
                self._in.moved()
                return data
            if self._in.ended:
                return b""
            await self._in.move()

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self._writable:
            self._out.waiting += data
            self._out.moved()
            while len(self._out.waiting) > self._out.window_bytes and self._writable:
                await self._out.move()
        if not self._writable:
            raise StreamBroken

    @property
    def _writable(self) -> bool:
        return not (self._closed or self._out.deaf)

    def abort(self) -> None:
        self.close()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = self._in.deaf = self._out.ended = True
        self._tell = None
        self.on_close()
        self._in.moved()
        self._out.moved()
        other = self.other
        if other._tell is not None:
            trio.lowlevel.spawn_system_task(other._told_soon)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.close()

    async def _told_soon(self) -> None:
        tell, self._tell = self._tell, None
        if tell is not None:
            tell()


def memory_pair(window_bytes: float = math.inf) -> tuple[MemoryStream, MemoryStream]:
    """Two ends of one connection. Who writes waits while more than *window_bytes* are unread."""
    there, back = _Way(window_bytes), _Way(window_bytes)
    one, other = MemoryStream(back, there), MemoryStream(there, back)
    one.other, other.other = other, one
    return one, other


def they_keep_the_interface(stream: MemoryStream) -> ByteStream:
    return stream
