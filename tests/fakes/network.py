"""A network in memory: connections that a test's own server code answers, in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import httpcore
import trio
import trio.testing

from llmlb.http.upstream.faults import UpstreamFault


@dataclass(eq=False)
class ServerSide:
    """The endpoint's end of one connection."""

    stream: trio.abc.Stream
    requests: list[bytes] = field(default_factory=list)
    """Every request received, head and body."""
    closed_at: float | None = None
    """When the client's side was closed."""
    received: bytes = b""
    hung_up: bool = False

    async def request(self) -> bytes:
        """The next whole request, or b"" once the client has closed."""
        while True:
            head, blank, rest = self.received.partition(b"\r\n\r\n")
            length = 0
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            if blank and len(rest) >= length:
                self.received = rest[length:]
                self.requests.append(head + blank + rest[:length])
                return self.requests[-1]
            try:
                more = await self.stream.receive_some(65536)
            except trio.BrokenResourceError:  # a reset: closed with bytes unread
                more = b""
            if not more:
                self.was_closed()
                return b""
            self.received += more

    async def send(self, *lines: bytes) -> None:
        """Send these, as they are."""
        for line in lines:
            await self.stream.send_all(line)

    async def reply(self, body: bytes = b"{}", status: bytes = b"200 OK", *headers: bytes) -> None:
        """Send one whole answer with its length."""
        head = [b"HTTP/1.1 " + status, b"content-length: %d" % len(body), *headers, b"", body]
        await self.send(b"\r\n".join(head))

    async def hang_up(self) -> None:
        self.hung_up = True
        await self.stream.aclose()

    def was_closed(self) -> None:
        """The client's side has been closed, now or before."""
        if self.closed_at is None:
            self.closed_at = trio.current_time()


Serve = Callable[[ServerSide], Awaitable[None]]


class MemoryNetwork(httpcore.AsyncNetworkBackend):
    """Connects to *serve*, which runs once per connection in *nursery*."""

    def __init__(self, nursery: trio.Nursery, serve: Serve) -> None:
        self._nursery = nursery
        self.serve = serve
        self.connections: list[ServerSide] = []
        self.refuse: BaseException | None = None
        """What the next connects fail with."""
        self.connect_delay_s = 0.0
        self.in_step = False
        """Whether a side takes what the client writes only as it reads it."""
        self.asked: list[tuple[str, int]] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109, RUF100
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.asked.append((host, port))
        try:
            with trio.fail_after(float("inf") if timeout is None else timeout):
                serve, refusal = await self._reach(host)
        except trio.TooSlowError as error:
            raise httpcore.ConnectTimeout from error
        if isinstance(refusal, UpstreamFault):
            raise refusal  # of a network that looks where it is led
        if refusal is not None:
            failure = httpcore.ConnectError()
            # httpcore's pool keeps only the context, not the cause.
            failure.__context__ = refusal
            raise failure
        pair = (
            trio.testing.lockstep_stream_pair if self.in_step else trio.testing.memory_stream_pair
        )
        client, server = pair()
        side = ServerSide(server)
        self.connections.append(side)
        self._nursery.start_soon(self._serve, side, serve)
        return _MemoryStream(client, side)

    async def _reach(self, host: str) -> tuple[Serve, BaseException | None]:
        """Who answers at *host*, or why nobody does; takes as long as connecting takes."""
        await trio.sleep(self.connect_delay_s)
        return self.serve, self.refuse

    async def _serve(self, side: ServerSide, serve: Serve) -> None:
        try:
            await serve(side)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            side.was_closed()


class _MemoryStream(httpcore.AsyncNetworkStream):
    """The client's end. It never looks readable, so a stale connection is always a surprise."""

    def __init__(self, stream: trio.StapledStream[Any, Any], side: ServerSide) -> None:
        self._stream, self._side = stream, side

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109, RUF100
        try:
            return bytes(await self._stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore.ReadError from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109, RUF100
        try:
            await self._stream.send_all(buffer)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore.WriteError from error

    async def aclose(self) -> None:
        self._side.was_closed()
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return False if info == "is_readable" else None
