"""A client of `llmlb serve` that a test plays byte by byte, in virtual time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import h11
import trio
import trio.testing
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.utils import wrap_app

from llmlb.http.application import LlmlbApp
from llmlb.http.downstream import Whence
from llmlb.http.lane.connection import Below, LaneConnection
from llmlb.http.lane.lane import Lane
from llmlb.http.lane.taking import take_at_once
from llmlb.http.streams.begun import Begun
from llmlb.http.streams.byte_stream import ByteStream
from llmlb.http.wire.connection import Connection, Limits
from llmlb.http.wire.websocket import MOST_BYTES
from tests.fakes.asgi import LOOPBACK
from tests.fakes.byte_stream import MemoryByteStream

LIMITS = Limits(header_s=10, idle_s=20, write_s=30)


class Client:
    """One connection to *app*; what it receives is noted as it comes, if it reads at all."""

    by_lane = False
    """Whether it begins on the lane, as connections do unless that is off."""

    def __init__(
        self,
        app: LlmlbApp,
        nursery: trio.Nursery,
        *,
        reads: bool = True,
        limits: Limits = LIMITS,
        takes: Callable[[int], int] | None = None,
    ) -> None:
        """Without *reads* it takes nothing by itself, and nothing is kept for it on the way.

        With *takes* it has sockets, which take at once what that says of so many bytes.
        """
        self.stream: trio.abc.HalfCloseableStream
        its_end: trio.abc.HalfCloseableStream
        take: Callable[[bytes], int] | None = None
        if takes is None:
            pair = trio.testing.memory_stream_pair if reads else trio.testing.lockstep_stream_pair
            self.stream, its_end = pair()
        else:
            ours, its = trio.socket.socketpair()
            self.stream, its_end = trio.SocketStream(ours), trio.SocketStream(its)

            def take(data: bytes) -> int:
                return take_at_once(its, data[: takes(len(data))])

        config = Config()
        config.include_date_header = config.include_server_header = False
        config.websocket_max_message_size = MOST_BYTES
        self.context = WorkerContext(None)
        self._app, self._config, self._limits = app, config, limits
        self._nursery, self._its_end, self._take = nursery, its_end, take
        self.received = bytearray()
        self.closed_at_s: float | None = None
        """When the balancer said that nothing more comes."""
        self.over = trio.Event()
        """The balancer has no more to do with it."""
        nursery.start_soon(self._serve)
        if reads:
            nursery.start_soon(self._read)

    async def send(self, data: bytes) -> None:
        """Send *data*, and let it have its effect."""
        await self.stream.send_all(data)
        await trio.testing.wait_all_tasks_blocked()

    async def leave(self) -> None:
        """Close, and let it have its effect."""
        await self.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()

    def answers(self, *methods: str) -> list[Answered]:
        """See `answers_in`."""
        return answers_in(bytes(self.received), *methods)

    async def _serve(self) -> None:
        if self.by_lane:
            await self._serve_by_lane()
        else:
            await self._connection(self._its_end).run()
        self.over.set()

    async def _serve_by_lane(self) -> None:
        lane = Lane(self._app, self._app.reception, self._limits, body_limit_s=300)
        async with lane.open():
            lane.stop_with(self.context)
            await LaneConnection(
                MemoryByteStream(self._its_end, self._nursery),
                lane,
                Whence(LOOPBACK["server"][0], LOOPBACK["client"][0]),
                Below(self._otherwise, lane.lines_of(self._config).now),
            ).run()

    async def _otherwise(
        self, stream: ByteStream, received: bytes
    ) -> tuple[ByteStream, bytes] | None:
        assert isinstance(stream, MemoryByteStream)
        below, unread = await stream.detach()
        begun = Begun(below, received + unread)
        behind = await self._connection(begun, gives_back=True).run()
        return None if behind is None else (MemoryByteStream(below, self._nursery), behind)

    def _connection(
        self, stream: trio.abc.HalfCloseableStream, *, gives_back: bool = False
    ) -> Connection:
        app = wrap_app(self._app, 0, "asgi")
        self.connection = Connection(
            app,
            self._config,
            self.context,
            stream,
            self._limits,
            **LOOPBACK,
            take=self._take,
            gives_back=gives_back,
        )
        return self.connection

    async def _read(self) -> None:
        try:
            while data := await self.stream.receive_some():
                self.received += data
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # it has left by itself
        self.closed_at_s = trio.current_time()


class Answered:
    """One whole answer."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def error(self) -> dict[str, Any]:
        """The OpenAI error that it is."""
        assert self.status >= 400, self.body
        assert self.headers["content-type"] == "application/json"
        assert self.headers["x-request-id"]
        error: dict[str, Any] = json.loads(self.body)["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        return error


def answers_in(received: bytes, *methods: str) -> list[Answered]:
    """The answers that were *received*, all of them whole; *methods* were asked by, else GET."""
    parser, found = h11.Connection(h11.CLIENT), []
    parser.receive_data(received)
    for method in [*methods, *["GET"] * 100][:100]:
        if not parser.trailing_data[0]:
            break
        parser.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        parser.send(h11.EndOfMessage())
        found.append(_answered(parser))
        if parser.our_state is not h11.DONE:
            break
        parser.start_next_cycle()
    assert not parser.trailing_data[0], "nothing comes after the last answer"
    return found


def _answered(parser: h11.Connection) -> Answered:
    while isinstance(head := parser.next_event(), h11.InformationalResponse):
        pass
    assert isinstance(head, h11.Response), head
    body = b""
    while isinstance(event := parser.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage), event
    headers = {name.decode(): value.decode() for name, value in head.headers}
    return Answered(head.status_code, headers, body)
