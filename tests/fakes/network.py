"""A network in memory: connections that a test's own server code answers, in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio
import trio.testing

from tests.fakes.byte_stream import MemoryByteStream


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


class MemoryNetwork:
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
        self.surprising = True
        """Whether a connection that has gone stale does not look like it."""
        self.asked: list[tuple[str, int]] = []

    async def connect(self, host: str, port: int) -> MemoryByteStream:
        """See Network."""
        self.asked.append((host, port))
        serve, refusal = await self._reach(host)
        if refusal is not None:
            raise refusal
        pair = (
            trio.testing.lockstep_stream_pair if self.in_step else trio.testing.memory_stream_pair
        )
        client, server = pair()
        side = ServerSide(server)
        self.connections.append(side)
        self._nursery.start_soon(self._serve, side, serve)
        return _ClientSide(client, self._nursery, side, blind=self.surprising)

    async def _reach(self, host: str) -> tuple[Serve, BaseException | None]:
        """Who answers at *host*, or why nobody does; takes as long as connecting takes."""
        await trio.sleep(self.connect_delay_s)
        return self.serve, self.refuse

    async def _serve(self, side: ServerSide, serve: Serve) -> None:
        try:
            await serve(side)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            side.was_closed()


class _ClientSide(MemoryByteStream):
    """The client's end; its server hears at once when it is closed."""

    def __init__(
        self,
        stream: trio.abc.HalfCloseableStream,
        nursery: trio.Nursery,
        side: ServerSide,
        *,
        blind: bool,
    ) -> None:
        super().__init__(stream, nursery)
        self._side, self._blind = side, blind

    @property
    def peer_gone(self) -> bool:
        return super().peer_gone and not self._blind

    def close(self) -> None:
        self._side.was_closed()
        super().close()
