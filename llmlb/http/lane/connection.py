"""One client's connection: what takes the lane is answered here, and all else is passed on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from llmlb.errors import RequestTimedOut
from llmlb.http.downstream import Asked, PeerGone, Whence
from llmlb.http.lane.answer import LaneAnswer
from llmlb.http.lane.body import LaneBody
from llmlb.http.lane.head import LaneHead, lane_head
from llmlb.http.policy import request_id_of
from llmlb.http.streams.byte_stream import ByteStream, StreamBroken

if TYPE_CHECKING:
    from llmlb.http.exchange import Exchange
    from llmlb.http.lane.lane import Lane

Otherwise = Callable[[ByteStream, bytes], Awaitable[tuple[ByteStream, bytes] | None]]
"""Answers the one request that these bytes begin, which have been read already.

Gives the connection back, with what has been read beyond that request; None: it has ended.
"""


Answered = Callable[[LaneHead, LaneAnswer, float], Awaitable[None]]
"""Is told of a request that has been answered, as far as that could be, and in how many seconds."""


@dataclass(frozen=True, slots=True)
class Below:
    """The server that a connection of the lane belongs to."""

    otherwise: Otherwise
    lines: Callable[[], bytes]
    """The header lines that every answer has, each with its end."""
    answered: Answered | None = None
    """None: nobody wants to know."""


class LaneConnection:
    """Owns one connection, from its first byte to its end, and is its only task.

    One cancel scope is enough: whatever has to end what runs here ends the connection, too.
    """

    def __init__(
        self,
        stream: ByteStream,
        lane: Lane,
        whence: Whence,
        below: Below,
    ) -> None:
        self._stream, self._lane, self._whence, self._below = stream, lane, whence, below
        self._scope = trio.CancelScope()
        self._elsewhere = self._gone = False
        self._answer: LaneAnswer | None = None
        """The one at hand."""
        self._head: LaneHead | None = None
        self._body: LaneBody | None = None
        self._since_s = 0.0
        """Since when nothing has moved, as far as anybody has looked."""
        self._limit_s = lane.limits.header_s
        """So long the client may ask for nothing."""
        self._writes = 0

    async def run(self) -> None:
        """Serve the connection to its end, and close it."""
        clock = self._lane.clock
        clock.add(self)
        self._since_s = trio.current_time()
        self._stream.on_peer_gone(self._left)
        try:
            with self._scope:
                await self._serve()
        finally:
            clock.discard(self)
            self._stream.close()

    # -- seen from outside

    def look(self, now_s: float, *, stopping: bool) -> None:
        """See Timed."""
        if self._elsewhere:
            return
        if self._answer is None:
            if stopping or now_s - self._since_s >= self._limit_s:
                self._scope.cancel()
        elif self._answer.writes % 2 == 0 or self._answer.writes != self._writes:
            self._writes, self._since_s = self._answer.writes, now_s
        elif now_s - self._since_s >= self._lane.limits.write_s:
            self._stream.abort()  # whoever is sending hears that the client has gone

    def _left(self) -> None:
        """The client has closed its side."""
        self._gone = True
        in_body = self._body is not None and self._body.left_bytes > 0
        if self._answer is not None and not in_body:  # whoever reads the body hears of it there
            self._answer.peer_gone = True
            self._scope.cancel()

    # -- request by request

    async def _serve(self) -> None:
        received = b""
        while True:
            if not received:
                received = await self._next()
            if not received:
                return
            head = lane_head(received)
            exchange = None if head is None else self._lane.exchange
            if head is not None and exchange is not None:
                behind = await self._serve_one(exchange, head, received)
            else:
                behind = await self._serve_elsewhere(received)
            if behind is None:
                return
            received = behind
            self._since_s, self._limit_s = trio.current_time(), self._lane.limits.idle_s

    async def _next(self) -> bytes:
        """The beginning of the next request; nothing if there is none."""
        try:
            return await self._stream.receive_some()
        except StreamBroken:
            return b""

    async def _serve_elsewhere(self, received: bytes) -> bytes | None:
        self._elsewhere = True
        given_back = await self._below.otherwise(self._stream, received)
        if given_back is None:
            return None
        self._stream, behind = given_back
        self._stream.on_peer_gone(self._left)
        self._elsewhere = False
        return behind

    async def _serve_one(self, exchange: Exchange, head: LaneHead, received: bytes) -> bytes | None:
        """Answer one request; what has been read beyond it, or None if it was the last one."""
        lane = self._lane
        asked_at_s = lane.asked()
        body = LaneBody(
            head,
            received[head.size_bytes :],
            self._stream,
            lane.reception,
            limit_s=lane.body_limit_s,
        )
        answer = LaneAnswer(self._stream, of_server=self._below.lines, is_last=self._is_last)
        self._head, self._body, self._answer, self._writes = head, body, answer, 0
        if self._gone:
            self._left()
        asked = Asked(
            "POST",
            head.path,
            head.headers,
            request_id_of(head.headers),
            self._whence,
            body.read,
            head.path,
        )
        try:
            await exchange.serve(head.api, asked, answer)
            body.close()  # the client may take its time over what is left to send
            await answer.finish()
            await body.pass_over()
        except PeerGone:
            answer.peer_gone = True
        finally:
            self._answer = self._body = None
            body.close()
        if self._below.answered is not None:
            await self._below.answered(head, answer, trio.current_time() - asked_at_s)
        if answer.complete and not (body.left_bytes or self._lane.draining):
            return body.behind
        if not (self._gone or answer.peer_gone):
            await self._stream.aclose()
        return None

    def _is_last(self, status: int) -> bool:
        """Whether the connection ends with an answer of this status, as the client is told."""
        keeps_alive = self._head is not None and self._head.keeps_alive
        return (
            not keeps_alive or self._gone or self._lane.draining or status == RequestTimedOut.status
        )
