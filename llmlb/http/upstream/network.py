"""How a connection to an address comes about; in tests it leads through memory."""

from __future__ import annotations

import socket
from typing import Protocol

import trio

from llmlb.http.streams.byte_stream import ByteStream
from llmlb.http.streams.socket_stream import SocketStream


class Network(Protocol):
    """Leads to hosts."""

    async def connect(self, host: str, port: int) -> ByteStream:
        """A connection. How long it may take is the caller's matter.

        Raises OSError, UnicodeError (a name that cannot be one), UpstreamFault.
        """
        ...


class SocketNetwork:
    """Leads to numeric addresses by TCP."""

    async def connect(self, host: str, port: int) -> SocketStream:
        """See Network. Never asks a resolver."""
        (family, kind, protocol, _, address), *_ = await trio.socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
        sock = socket.socket(family, kind, protocol)
        try:
            await trio.socket.from_stdlib_socket(sock).connect(address)
        except BaseException:
            sock.close()
            raise
        return SocketStream(sock)
