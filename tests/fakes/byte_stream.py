"""A ByteStream in memory, for connections whose time is virtual."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import trio

from llmlb.http.streams.byte_stream import READ_BYTES, StreamBroken

_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


class MemoryByteStream:
    """Stands on a stream of Trio's; see ByteStream.

    What comes is taken in by a task of its own, as a kernel does it, up to 64 KiB: so the end is
    seen behind bytes that nobody has read.
    """

    def __init__(self, stream: trio.abc.HalfCloseableStream, nursery: trio.Nursery) -> None:
        self._stream, self._nursery = stream, nursery
        self._held = bytearray()
        self._moved = trio.Event()
        self._ended = self._closed = False
        self._tell: Callable[[], None] | None = None
        self._pumping, self._sending = trio.CancelScope(), trio.CancelScope()
        self._idle = trio.Event()
        """Nobody is taking anything in."""
        nursery.start_soon(self._pump)

    async def _pump(self) -> None:
        with self._pumping:
            while not self._ended:
                if len(self._held) >= READ_BYTES:
                    await self._moved.wait()
                    continue
                try:
                    data = bytes(await self._stream.receive_some(READ_BYTES))
                except _BROKEN:
                    data = b""
                self._held += data
                self._ended = not data
                self._move()
            await self._tell_soon()
        self._idle.set()

    def _move(self) -> None:
        moved, self._moved = self._moved, trio.Event()
        moved.set()

    @property
    def peer_gone(self) -> bool:
        return bool(self._held) or self._ended or self._closed

    def on_peer_gone(self, tell: Callable[[], None] | None) -> None:
        self._tell = tell
        if tell is not None and self._ended:
            self._nursery.start_soon(self._tell_soon)

    async def _tell_soon(self) -> None:
        tell, self._tell = self._tell, None
        if tell is not None:
            tell()

    async def receive_some(self) -> bytes:
        while not (self._held or self._ended or self._closed):
            await self._moved.wait()
        if self._closed:
            raise StreamBroken
        data, self._held = bytes(self._held[:READ_BYTES]), self._held[READ_BYTES:]
        self._move()
        return data

    async def send_all(self, data: bytes) -> None:
        if self._closed:
            raise StreamBroken
        with trio.CancelScope() as self._sending:
            try:
                await self._stream.send_all(data)
            except _BROKEN as error:
                raise StreamBroken from error
        if self._closed:
            raise StreamBroken

    async def detach(self) -> tuple[trio.abc.HalfCloseableStream, bytes]:
        """The stream below, and what has come of it, for whoever goes on with it."""
        self._pumping.cancel()
        self._tell = None
        await self._idle.wait()
        return self._stream, bytes(self._held)

    def abort(self) -> None:
        self.close()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._pumping.cancel()
            self._sending.cancel()
            self._move()
            self._nursery.start_soon(trio.aclose_forcefully, self._stream)

    async def aclose(self) -> None:
        with suppress(*_BROKEN):
            await self._stream.send_eof()
        with trio.move_on_after(1):
            while not (self._ended or self._closed):
                self._held.clear()
                self._move()
                await self._moved.wait()
        self.close()
