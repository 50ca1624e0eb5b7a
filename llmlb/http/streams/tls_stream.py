"""A ByteStream over TLS, which Trio speaks over another ByteStream."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import trio

from llmlb.http.streams.byte_stream import READ_BYTES, ByteStream, StreamBroken

CLOSE_WITHIN_S = 1.0

_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


class TlsStream:
    """Owns what runs inside TLS, and the stream below it. See ByteStream."""

    def __init__(self, below: ByteStream, inside: trio.SSLStream[_Below]) -> None:
        self._below, self._inside = below, inside

    @property
    def peer_gone(self) -> bool:
        """See ByteStream; what has been received, but not been read, counts as well."""
        # Whole records can stand there that the socket does not know of any more, and Trio's
        # public `pending` does not see them either.
        unread = self._inside._incoming.pending  # noqa: SLF001
        return bool(unread or self._inside.pending()) or self._below.peer_gone

    def on_peer_gone(self, tell: Callable[[], None] | None) -> None:
        self._below.on_peer_gone(tell)

    async def receive_some(self) -> bytes:
        try:
            return bytes(await self._inside.receive_some(READ_BYTES))
        except _BROKEN as error:
            raise StreamBroken from error

    async def send_all(self, data: bytes) -> None:
        try:
            await self._inside.send_all(data)
        except _BROKEN as error:
            raise StreamBroken from error

    def abort(self) -> None:
        self._below.abort()

    def close(self) -> None:
        self._below.close()

    async def aclose(self) -> None:
        try:
            with trio.move_on_after(CLOSE_WITHIN_S):
                await self._inside.aclose()
        finally:
            self._below.close()


async def tls_over(below: ByteStream, context: ssl.SSLContext, host: str) -> TlsStream:
    """TLS over *below*, once the other end has shown that it is *host*.

    Raises OSError (of which ssl.SSLError is one) and StreamBroken; then *below* is closed.
    """
    inside = trio.SSLStream(
        _Below(below), context, server_hostname=host, https_compatible=True, server_side=False
    )
    try:
        await inside.do_handshake()
    except trio.BrokenResourceError as error:
        below.close()
        if isinstance(error.__cause__, ssl.SSLError):
            raise error.__cause__ from None
        raise StreamBroken from error
    except BaseException:
        below.close()
        raise
    return TlsStream(below, inside)


class _Below(trio.abc.Stream):
    """A ByteStream as Trio's TLS wants to have it."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes:  # noqa: ARG002 - a bound
        try:
            return await self._stream.receive_some()
        except StreamBroken as error:
            raise trio.BrokenResourceError from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await self._stream.send_all(bytes(data))
        except StreamBroken as error:
            raise trio.BrokenResourceError from error

    async def wait_send_all_might_not_block(self) -> None:
        """Nobody asks: Trio's TLS passes the question on, and we do not put it."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await self._stream.aclose()
