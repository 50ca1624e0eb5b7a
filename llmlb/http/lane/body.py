"""The body of a request on a connection of the lane: read when it is wanted, or passed over."""

from __future__ import annotations

from contextlib import suppress

import trio

from llmlb.errors import InvalidRequest, RequestTimedOut
from llmlb.http.downstream import PeerGone
from llmlb.http.intake.form import Form
from llmlb.http.intake.reception import Intake, Reception
from llmlb.http.intake.whole import WaitingBody
from llmlb.http.lane.head import LaneHead
from llmlb.http.streams.byte_stream import ByteStream, StreamBroken

LINGER_LIMIT_S = 5.0
"""So long the rest of a body may take that nobody waits for: to close with bytes unread would
reset the connection, and the answer be lost."""


class LaneBody:
    """Owns one body: what has come of it, what it holds of the budget, and the way to the rest."""

    def __init__(
        self,
        head: LaneHead,
        came: bytes,
        stream: ByteStream,
        reception: Reception,
        *,
        limit_s: float,
    ) -> None:
        """*came* has been received with or after the head; the whole may take *limit_s*."""
        self._head, self._stream = head, stream
        self._reception, self._limit_s = reception, limit_s
        self._came = came[: head.body_bytes]
        self.behind = came[head.body_bytes :]
        """What has come of the next request."""
        self.left_bytes = head.body_bytes - len(self._came)
        """So much is still to come."""
        self._intake: Intake | None = None

    async def read(self) -> bytes | Form:
        """All of it. Raises the LbError that refuses it, PeerGone."""
        came, self._came = self._came, b""
        try:
            with trio.fail_after(self._limit_s):
                whole = await self._taken_in(came)
        except trio.TooSlowError:
            raise RequestTimedOut("The body of the request did not come in time.") from None
        return await whole.read_back(self._limit_s) if isinstance(whole, WaitingBody) else whole

    async def _taken_in(self, piece: bytes) -> bytes | WaitingBody | Form:
        intake = self._intake = self._reception.intake_for(self._head.path, self._head.headers)
        pace = self._reception.pace()
        await intake.take(piece)
        while self.left_bytes:
            asked_at_s = trio.current_time()
            with trio.move_on_after(pace.left_s) as patience:
                piece = await self._receive()
            if patience.cancelled_caught:
                raise RequestTimedOut("The body of the request comes too slowly.")
            pace.came(len(piece), trio.current_time() - asked_at_s)
            await intake.take(piece)
        return await intake.finish()

    async def _receive(self) -> bytes:
        """One more piece. Raises PeerGone, and InvalidRequest if there is none."""
        try:
            data = await self._stream.receive_some()
        except StreamBroken:
            raise PeerGone from None
        if not data:
            raise InvalidRequest("The request is refused: its body ended before its length.")
        piece, self.behind = data[: self.left_bytes], data[self.left_bytes :]
        self.left_bytes -= len(piece)
        return piece

    async def pass_over(self) -> None:
        """Let it come to its end without keeping it, if that takes no longer than it may."""
        with trio.move_on_after(LINGER_LIMIT_S), suppress(InvalidRequest):
            while self.left_bytes:
                await self._receive()

    def close(self) -> None:
        """Give back what it holds. Works while being cancelled, and a second time."""
        self._came = b""
        if self._intake is not None:
            self._intake.close()
