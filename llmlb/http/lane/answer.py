"""One answer on a connection of the lane: its head, its framing, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from llmlb.http.downstream import Head, PeerGone
from llmlb.http.streams.byte_stream import ByteStream, StreamBroken

WRITTEN_BYTES = 64 * 1024
"""A client has to take so much, or all that there is, within the time for it."""

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


def _status_line(status: int) -> bytes:
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


class LaneAnswer:
    """A client's side of an exchange, over its connection. See Downstream.

    The head waits for the first piece of the body and leaves with it, which follows at once.
    """

    def __init__(
        self,
        stream: ByteStream,
        *,
        of_server: Callable[[], bytes],
        is_last: Callable[[int], bool],
    ) -> None:
        """*of_server* tells the header lines that every answer has.

        *is_last* tells, by the status, whether the connection ends with this answer.
        """
        self._stream = stream
        self._of_server, self._is_last = of_server, is_last
        self.head: Head | None = None
        """What it began with, if it has."""
        self._head = b""
        self._left_bytes: int | None = None
        """Of the body; None: it is sent in chunks."""
        self._whole = False
        """All of it has been sent, and the client can tell."""
        self._half_sent = False
        """Of what was sent last perhaps not all has been: nothing can follow it."""
        self.last = False
        """The connection ends with this answer."""
        self.peer_gone = False
        self.writes = 0
        """How many have begun or ended: an odd number means that one is under way."""

    @property
    def complete(self) -> bool:
        """Whether another answer can follow."""
        return self._whole and not self.last

    async def begin(self, head: Head) -> None:
        """See Downstream. Raises ValueError for a header that would not stay one."""
        lines = [f"{name}: {text}\r\n" for name, text in head.headers]
        told = "".join(lines).encode("latin-1")
        if told.count(b"\r") != len(lines) or told.count(b"\n") != len(lines) or b"\0" in told:
            raise ValueError("a header of an answer holds a line break or NUL")
        length = next((text for name, text in head.headers if name == "content-length"), None)
        framing = b""
        if length is None:
            framing = b"transfer-encoding: chunked\r\n"
        else:
            self._left_bytes = int(length)
        self.head, self.last = head, self._is_last(head.status)
        if self.last:
            framing += b"connection: close\r\n"
        parts = (_status_line(head.status), told, framing, self._of_server(), b"\r\n")
        self._head = b"".join(parts)

    async def send(self, data: bytes) -> None:
        """See Downstream."""
        if self._left_bytes is None:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        else:
            self._left_bytes -= len(data)
        if self._head:
            data, self._head = self._head + data, b""
        await self._write(data)

    def abort(self) -> None:
        """See Downstream: nothing more is sent, and the connection is closed."""
        self._half_sent = True

    async def finish(self) -> None:
        """Complete the answer; one that cannot be completed stays visibly incomplete."""
        if self._half_sent or self._left_bytes:
            return
        rest = self._head if self._left_bytes == 0 else self._head + b"0\r\n\r\n"
        if rest:
            await self._write(rest)
        self._whole = True

    async def _write(self, data: bytes) -> None:
        """Raises PeerGone, also after a write that was broken off: half a piece has been sent."""
        if self._half_sent:
            self.peer_gone = True
            raise PeerGone
        self._half_sent = True
        self.writes += 1
        try:
            if len(data) <= WRITTEN_BYTES:
                await self._stream.send_all(data)
            else:
                for at in range(0, len(data), WRITTEN_BYTES):
                    self.writes += 2
                    await self._stream.send_all(data[at : at + WRITTEN_BYTES])
        except StreamBroken:
            self.peer_gone = True
            raise PeerGone from None
        self.writes += 1
        self._half_sent = False
