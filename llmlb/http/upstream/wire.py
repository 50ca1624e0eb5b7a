"""What happened on the connection below one request: new or reused, answered, hung up."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import httpcore
import trio


@dataclass(slots=True)
class Attempt:
    """One request, as seen from the wire."""

    fresh: bool = False
    """A connection was opened for it."""
    answered: bool = False
    """At least one byte came back."""
    hung_up: bool = False
    """The endpoint closed its side."""
    resent: bool = False
    """It is the second one of a request whose first had been sent on a stale connection."""

    def again(self) -> None:
        """Start over, on another connection."""
        self.fresh = self.answered = self.hung_up = False
        self.resent = True


current_attempt: ContextVar[Attempt] = ContextVar("current_attempt")
"""Set by whoever sends a request; httpcore connects and writes in that same task."""


class Wire(httpcore.AsyncNetworkStream):
    """One connection. Once closed it never looks usable again, so that no pool reuses it.

    Time limits are parameters here because httpcore's interface has them so.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream, connect_by: float) -> None:
        self._stream = stream
        self._connect_by = connect_by  # one limit covers TCP and TLS
        self._attempt = current_attempt.get()
        self._closed = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109, RUF100
        if self._closed:
            raise httpcore.ReadError("closed on this side")
        received = await self._stream.read(max_bytes, timeout)
        if received:
            self._attempt.answered = True
        else:
            self._attempt.hung_up = True
        return received

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109, RUF100
        # Only requests write, so from here on what is read belongs to this one.
        self._attempt = current_attempt.get()
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        self._closed = True
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109, RUF100 - see _connect_by
    ) -> httpcore.AsyncNetworkStream:
        left_s = max(0.0, self._connect_by - trio.current_time())
        stream = await self._stream.start_tls(ssl_context, server_hostname, left_s)
        return Wire(stream, self._connect_by)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's own signature
        if info == "is_readable" and self._closed:
            # httpcore drops an idle connection that is readable, and asks a closed socket
            # only at the price of an exception.
            return True
        return self._stream.get_extra_info(info)


class WireNetwork(httpcore.AsyncNetworkBackend):
    """Opens wires on top of another network (TCP, or a test's own)."""

    def __init__(self, network: httpcore.AsyncNetworkBackend) -> None:
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109, RUF100
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        current_attempt.get().fresh = True
        connect_by = trio.current_time() + (timeout if timeout is not None else float("inf"))
        stream = await self._network.connect_tcp(host, port, timeout, local_address, socket_options)
        return Wire(stream, connect_by)
