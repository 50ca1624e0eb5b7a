"""One client's connection: how long it may take over what, and how it ends."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from socket import SO_LINGER, SOL_SOCKET

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState

from llmlb.http.inbound import SEND_NOW
from llmlb.http.wire.http1 import Http1
from llmlb.http.wire.websocket import ASK_AFTER_S
from llmlb.settings import Settings

READ_BYTES = 64 * 1024

WRITTEN_BYTES = 64 * 1024
"""A client has to take so much, or all that there is, within `Limits.write_s`."""

GOODBYE_S = 2.0
"""So long a client that has its last answer may go on sending: to close with bytes unread would
reset the connection, and the answer would be lost."""

_RESET_AT_CLOSE = struct.pack("ii", 1, 0)

Address = tuple[str, int]
_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a client may take, in seconds."""

    header_s: float
    """For the head of a request, from its first byte on; for the first one from the connection."""
    idle_s: float
    """Until the next request begins."""
    write_s: float
    """To take 64 KiB of its answer, or what there is of it."""

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """As *settings* have it."""
        return cls(
            header_s=settings.header_timeout_s,
            idle_s=settings.idle_timeout_s,
            write_s=settings.write_timeout_s,
        )


class Connection:
    """Owns one connection: reads it, writes to it, and closes it in the end."""

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        stream: trio.abc.HalfCloseableStream,
        limits: Limits,
        *,
        client: Address | None,
        server: Address | None,
        take: Callable[[bytes], int] | None = None,
        gives_back: bool = False,
    ) -> None:
        """*take* lets the client take what it can at once, and tells how many bytes that was.

        With *gives_back* it serves one request, and gives the connection back after it.
        """
        self._context, self._stream, self._limits = context, stream, limits
        self._take = take
        self._tasks = TaskGroup()
        self._http = Http1(
            app,
            config,
            context,
            self._tasks,
            ConnectionState({} if take is None else {SEND_NOW: self.send_now}),
            False,  # noqa: FBT003 - no TLS
            client,
            server,
            self._hear,
        )
        self._http.gives_back = gives_back
        self._given_back = trio.Event()
        self._beyond = b""
        """What has been read that belongs to no request of ours."""
        self._writing = trio.Lock()
        self._left = b""
        """What of a piece has not been taken at once: it goes before anything else."""
        self._recycled = trio.Event()
        self._clock = trio.CancelScope()
        self._listens_until_s = math.inf
        self._listening = trio.CancelScope()
        self._expecting = True
        """Whether the head of a request is to come."""
        self._begun = False
        """Whether some of it has come."""
        self._ended = False

    async def run(self) -> bytes | None:
        """Serve the connection to its end, and close it.

        One that is given back instead stays open, and what has been read beyond its request is
        returned.
        """
        given_back = False
        try:
            async with self._tasks:
                self._clock.deadline = trio.current_time() + self._limits.header_s
                self._tasks.spawn(self._watch_the_clock)
                await self._read()
                self._ended = True
                self._clock.cancel()
                if not self._given_back.is_set():
                    await self._http.handle(Closed())
            given_back = self._given_back.is_set()
        finally:
            if not given_back:
                await trio.aclose_forcefully(self._stream)
        return self._beyond if given_back else None

    # -- from the client

    async def _read(self) -> None:
        """Until the client has no more to say, or is not listened to any longer.

        hypercorn is not cancelled: half way through it would forget to tell the application.
        """
        data = await self._receive()
        while data and not self._given_back.is_set():
            if not self._ended:
                self._note_a_beginning()
                await self._http.handle(RawData(data))
            while self._http.connection.is_far_ahead and not self._over:
                await self._recycled.wait()
            if self._given_back.is_set():
                data = b""
            else:
                data = await self._receive() if self._ended else await self._receive_or_ask()
        if self._given_back.is_set():
            # it may have come in the very moment in which the last answer was over
            self._beyond = self._http.connection.trailing_data[0] + data
        elif not self._ended:
            await self._http.handle(RawData(b""))

    @property
    def _over(self) -> bool:
        """Whether nothing more is to be read here."""
        return self._ended or self._given_back.is_set()

    async def _receive(self) -> bytes:
        """What comes next; nothing if that was all."""
        with (
            trio.CancelScope(deadline=self._listens_until_s) as self._listening,
            suppress(*_BROKEN),
        ):
            return bytes(await self._stream.receive_some(READ_BYTES))
        return b""

    async def _receive_or_ask(self) -> bytes:
        """What comes next; a WebSocket's client that is silent is asked whether it is there."""
        with trio.move_on_after(ASK_AFTER_S):
            return await self._receive()
        if not await self._http.ask_whether_there():
            return await self._receive()
        with trio.move_on_after(ASK_AFTER_S):
            return await self._receive()
        return b""

    def _listen_for(self, limit_s: float) -> None:
        self._listens_until_s = self._listening.deadline = trio.current_time() + limit_s

    def _note_a_beginning(self) -> None:
        if self._expecting and not self._begun:
            self._begun = True
            self._clock.deadline = trio.current_time() + self._limits.header_s

    async def _watch_the_clock(self) -> None:
        """End a connection whose next request does not come, or not whole, in time."""
        with self._clock:
            await self._context.terminated.wait()
        if self._over or not self._expecting:
            return
        if self._begun and not self._context.terminated.is_set():
            await self._http.refuse(408, "its head did not come in time")
        await self._end()

    # -- to the client, by hypercorn's protocol

    async def _hear(self, event: Event) -> None:
        match event:
            case RawData():
                await self._write(event.data)
            case Closed():
                await self._end()
                await self._http.handle(event)
            case Updated():
                self._expecting, self._begun = event.idle, False
                self._clock.deadline = math.inf
                if event.idle:
                    self._expect_the_next()

    def _expect_the_next(self) -> None:
        if self._http.gives_back:
            self._http.give_back()
            self._given_back.set()
            self._clock.cancel()
            self._listening.cancel()
            self._recycled.set()
            return
        self._begun = bool(self._http.connection.ahead_bytes)
        limit_s = self._limits.header_s if self._begun else self._limits.idle_s
        self._clock.deadline = trio.current_time() + limit_s
        recycled, self._recycled = self._recycled, trio.Event()
        recycled.set()

    def send_now(self, data: bytes) -> bool:
        """Send one more piece of the answer, or whole frames of a WebSocket, without waiting.

        False, and nothing is sent, if it has to wait its turn. Through the server it would be
        handed from task to task, which costs thirty times as much. What the client does not take at
        once, of this one piece, is written behind it.
        """
        waits = self._ended or self._left or self._writing.locked()
        if waits or self._take is None or len(data) > WRITTEN_BYTES:
            return False
        framed = self._http.framed(data)
        if framed is None:
            return False
        self._left = framed[self._take(framed) :]
        if self._left:
            self._tasks.spawn(self._write, b"")
        return True

    async def _write(self, data: bytes) -> None:
        """Send *data*, whoever is cancelled meanwhile: half a piece would spoil what comes next.

        A client that does not take it is cut off.
        """
        with trio.CancelScope(shield=True):
            async with self._writing:
                left, self._left = self._left, b""
                data = left + data
                try:
                    for at in range(0, len(data), WRITTEN_BYTES):
                        with trio.fail_after(self._limits.write_s):
                            await self._stream.send_all(data[at : at + WRITTEN_BYTES])
                except trio.TooSlowError:
                    await self._cut()
                except _BROKEN:
                    self._listen_for(0)
                else:
                    return
        await self._http.handle(Closed())

    async def _end(self) -> None:
        """Send no more, and listen no longer than it takes for what was sent to arrive."""
        if self._ended:
            return
        self._ended = True
        self._recycled.set()
        with trio.CancelScope(shield=True):
            async with self._writing:
                with suppress(*_BROKEN):
                    await self._stream.send_eof()
        self._listen_for(GOODBYE_S if self._http.connection.has_unread else 0)

    async def _cut(self) -> None:
        """Close at once: what has not been taken yet is thrown away."""
        self._ended = True
        if isinstance(self._stream, trio.SocketStream):
            self._stream.setsockopt(SOL_SOCKET, SO_LINGER, _RESET_AT_CLOSE)
        await trio.aclose_forcefully(self._stream)
