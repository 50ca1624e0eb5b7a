"""Who serves a connection that hypercorn has taken: the lane, our HTTP/1.1, or hypercorn itself."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper

from llmlb.http.downstream import Whence
from llmlb.http.lane.answer import LaneAnswer
from llmlb.http.lane.connection import Below, LaneConnection
from llmlb.http.lane.head import LaneHead
from llmlb.http.lane.lane import Lane
from llmlb.http.streams.begun import Begun
from llmlb.http.streams.byte_stream import ByteStream, StreamBroken
from llmlb.http.streams.socket_stream import SocketStream
from llmlb.http.wire.connection import Address, Connection, Limits

log = structlog.get_logger()

_HTTP2 = b"PRI * HTTP/2.0\r\n"

PassOn = Callable[[trio.abc.HalfCloseableStream], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Server:
    """hypercorn, as one connection sees it."""

    app: AppWrapper
    config: Config
    context: WorkerContext
    pass_on: PassOn | None
    """Has hypercorn serve a stream; None: what is not HTTP/1.1 is refused."""

    @property
    def wants_to_know(self) -> bool:
        """Whether it keeps an access log, or ends after so many requests."""
        config = self.config
        logs = config.accesslog is not None or config.statsd_host is not None
        return logs or self.context.max_requests is not None


async def serve_taken(
    server: Server, stream: trio.SocketStream, limits: Limits, lane: Lane | None
) -> None:
    """Serve a connection to its end, whatever that is: one client's trouble is not the others'."""
    try:
        client = _address(stream.socket.getpeername())
        own = _address(stream.socket.getsockname())
    except OSError:
        return  # it has been closed again
    taken = _Taken(server, limits, client, own)
    try:
        if lane is None or server.config.server_names:  # which are hypercorn's to compare
            await taken.connection(stream, stream.socket).run()
        else:
            await taken.by_lane(lane, stream)
    except* Exception as error:  # logged, and it ends this connection alone
        log.exception("a connection failed", client=client and client[0], exc_info=error)


@dataclass(frozen=True, slots=True)
class _Taken:
    server: Server
    limits: Limits
    client: Address | None
    own: Address | None

    def connection(
        self,
        stream: trio.abc.HalfCloseableStream,
        sock: trio.socket.SocketType,
        *,
        gives_back: bool = False,
    ) -> Connection:
        """For whatever is asked, by our HTTP/1.1; *sock* is what *stream* stands on."""
        server = self.server
        return Connection(
            server.app,
            server.config,
            server.context,
            stream,
            self.limits,
            client=self.client,
            server=self.own,
            take=partial(take_at_once, sock),
            gives_back=gives_back,
        )

    async def by_lane(self, lane: Lane, stream: trio.SocketStream) -> None:
        lane.stop_with(self.server.context)
        bytes_of = SocketStream(socket.socket(fileno=stream.socket.detach()))
        whence = Whence(self.own and self.own[0], self.client and self.client[0])
        below = Below(
            self._otherwise,
            lane.lines_of(self.server.config).now,
            self._answered if self.server.wants_to_know else None,
        )
        await LaneConnection(bytes_of, lane, whence, below).run()

    async def _answered(self, head: LaneHead, answer: LaneAnswer, took_s: float) -> None:
        """See Answered: for hypercorn's access log, and its count of requests."""
        await self.server.context.mark_request()
        summary: Any = None
        if answer.head is not None:
            summary = {"status": answer.head.status, "headers": _raw(answer.head.headers)}
        scope: Any = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": head.path,
            "query_string": head.query,
            "headers": _raw(head.headers.items()),
            "client": self.client,
        }
        await self.server.config.log.access(scope, summary, took_s)

    async def _otherwise(
        self, stream: ByteStream, received: bytes
    ) -> tuple[ByteStream, bytes] | None:
        """See Otherwise."""
        try:
            sock = cast("SocketStream", stream).detach()
        except StreamBroken:
            return None
        below = trio.socket.from_stdlib_socket(sock)
        begun = Begun(trio.SocketStream(below), received)
        if self.server.pass_on is not None and received.startswith(_HTTP2):
            await self.server.pass_on(begun)
            return None
        behind = await self.connection(begun, below, gives_back=True).run()
        return None if behind is None else (SocketStream(sock), behind)


def take_at_once(sock: trio.socket.SocketType, data: bytes) -> int:
    """How many bytes of *data* the socket has room for, and takes: never waits."""
    try:
        return os.write(sock.fileno(), data)
    except OSError:  # it has none, or is broken: whoever waits for the rest is told
        return 0


def _raw(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), text.encode("latin-1")) for name, text in headers]


def _address(name: tuple[str, int] | tuple[str, int, int, int] | str | bytes) -> Address | None:
    """None: it has none, like a socket of the file system."""
    return (name[0], name[1]) if isinstance(name, tuple) else None
