"""A connection of Trio's of which something has been read already."""

from __future__ import annotations

from typing import Any

import trio


class Begun(trio.abc.HalfCloseableStream):
    """*stream*, which says *received* once more before it goes on."""

    def __init__(self, stream: trio.abc.HalfCloseableStream, received: bytes) -> None:
        self._stream, self._received = stream, received

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._received:
            await trio.lowlevel.checkpoint_if_cancelled()
            piece = self._received[:max_bytes]
            self._received = self._received[len(piece) :]
            return piece
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever its kind of stream has
        return getattr(self._stream, name)
