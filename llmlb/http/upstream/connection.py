"""One connection to an endpoint: a request goes out on it, and its answer comes in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import trio

from llmlb.errors import InternalError, LbError
from llmlb.http.payload import Payload
from llmlb.http.streams.byte_stream import ByteStream, StreamBroken
from llmlb.http.upstream.parser import AnswerParser, Ended, NotHttp

AT_ONCE_BYTES = 64 * 1024
"""A body up to this size goes out in one go with its head: the system takes it, read or not. Of a
longer one an endpoint may have read only a part when it answers."""

PIECE_BYTES = 256 * 1024

CLOSE_WITHIN_S = 1.0

BREAKS = (StreamBroken, Ended, NotHttp)
"""What ends an answer that is not whole."""


class Connection:
    """Owns one stream, and what comes in on it. One request at a time."""

    __slots__ = ("_sent", "idle_since_s", "parser", "stream")

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self.parser = AnswerParser()
        self.idle_since_s = 0.0
        self._sent = True

    @property
    def reusable(self) -> bool:
        """Whether the next request can go out on it, now that an answer was read to its end."""
        return self.parser.complete and self.parser.reusable and self._sent

    async def ask(self, head: bytes, body: bytes | Payload | None, *, bodyless: bool) -> None:
        """Send a request; returns when the head of its answer has come.

        Raises StreamBroken, Ended, NotHttp, and the LbError of a *body* that cannot be read; the
        connection is of no more use then, and neither is it if this is cancelled.
        """
        parser = self.parser
        parser.expect(bodyless=bodyless)
        self._sent = False
        content = b"" if body is None else body
        if not isinstance(content, bytes):
            await self._send_long(_headed(head, content))
        elif len(content) > AT_ONCE_BYTES:
            await self._send_long(_in_pieces(head, content))
        else:
            try:
                await self.stream.send_all(head + content)
                self._sent = True
            except StreamBroken:
                pass  # it may have said why before it closed
        while not parser.head_complete:
            await self.more()

    async def more(self) -> None:
        """Let more of the answer come. Raises StreamBroken, Ended, NotHttp."""
        data = await self.stream.receive_some()
        if data:
            self.parser.feed(data)
        else:
            self.parser.feed_end()

    def close(self) -> None:
        """Close it at once."""
        self.stream.close()
        # The parser and llhttp name each other, and stay until the collector comes by.
        self.parser.pieces.clear()

    async def _send_long(self, pieces: AsyncGenerator[bytes]) -> None:
        """Send *pieces*, unless the endpoint refuses the request, or breaks off, before the end."""
        failed: list[Exception] = []

        async def listen(sending: trio.CancelScope) -> None:
            try:
                while not self.parser.head_complete:
                    await self.more()
            except BREAKS as error:
                failed.append(error)
            # A good answer that begins early does not say that the rest is not wanted.
            if failed or self.parser.status >= 300:
                sending.cancel()

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen, nursery.cancel_scope)
                try:
                    async for piece in pieces:
                        await self.stream.send_all(piece)
                    self._sent = True
                except StreamBroken:
                    pass  # what it has said before is still to be read
                except LbError as error:
                    failed.append(error)
                nursery.cancel_scope.cancel()
        finally:
            with trio.move_on_after(CLOSE_WITHIN_S, shield=True):
                await pieces.aclose()
        if failed:
            raise failed[0]


async def _in_pieces(head: bytes, body: bytes) -> AsyncGenerator[bytes]:
    yield head
    for start in range(0, len(body), PIECE_BYTES):
        yield body[start : start + PIECE_BYTES]


async def _headed(head: bytes, body: Payload) -> AsyncGenerator[bytes]:
    """*head*, and as much of *body* as was promised in it. Raises the LbError of *body*."""
    pieces: AsyncIterator[bytes] = body.chunks()
    left = body.size_bytes
    try:
        yield head
        async for piece in pieces:
            left -= len(piece)
            if left < 0:
                break
            yield piece
    finally:
        # Whoever iterates it may leave it half way, when a call is cancelled or refused.
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()
    if left:
        raise InternalError("A request's body is not as long as was promised.")
