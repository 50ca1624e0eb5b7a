"""A request of a connection that begins on the lane, told as one that comes by ASGI."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import h11
import trio
import trio.testing

from llmlb.http.downstream import Whence
from llmlb.http.lane.connection import Below, LaneConnection
from llmlb.http.streams.byte_stream import ByteStream, StreamBroken
from tests.fakes.asgi import PATIENCE_S, Request

if TYPE_CHECKING:
    from llmlb.http.application import LlmlbApp


class LaneRequest(Request):
    """One POST, with its whole body, and the ByteStream that carries it.

    What the lane does not take comes by ASGI after all.
    """

    def __init__(self, app: LlmlbApp, path: str, body: bytes, **more: Any) -> None:
        super().__init__(app, "POST", path, body, **more)
        self._lane = getattr(app, "_lane", None)  # there are applications without one
        headers = list(self.scope["headers"])
        names = {name.lower() for name, _ in headers}
        headers += [(b"host", b"x")] * (b"host" not in names)
        headers += [(b"content-length", b"%d" % len(body))] * (b"content-length" not in names)
        lines = [b"%b: %b\r\n" % header for header in headers]
        self._unread = b"POST %b HTTP/1.1\r\n%b\r\n%b" % (
            path.encode(),
            b"".join(lines),
            body,
        )
        self._gone = trio.Event()
        self._sending = trio.CancelScope()
        self._tell: Callable[[], None] | None = None
        self._parser = h11.Connection(h11.CLIENT)
        self._parser.send(h11.Request(method="POST", target="/", headers=[("host", "x")]))
        self._parser.send(h11.EndOfMessage())

    async def run(self) -> Request:
        if self._lane is None:
            return await super().run()
        whence = Whence(*((self.scope[end] or [None])[0] for end in ("server", "client")))
        with trio.fail_after(PATIENCE_S):
            below = Below(self._by_asgi, lambda: b"")
            await LaneConnection(self, self._lane, whence, below).run()
        await trio.testing.wait_all_tasks_blocked()  # what others were told has its effect
        self.over.set()
        return self

    async def _by_asgi(self, _stream: ByteStream, _received: bytes) -> None:
        await super().run()

    def leave(self) -> None:
        super().leave()
        self._gone.set()
        tell, self._tell = self._tell, None
        if tell is not None:
            tell()

    # -- the stream

    @property
    def peer_gone(self) -> bool:
        return self._gone.is_set()

    def on_peer_gone(self, tell: Callable[[], None] | None) -> None:
        self._tell = tell

    async def receive_some(self) -> bytes:
        data, self._unread = self._unread, b""
        if not (data or self.complete):
            await self._gone.wait()
        return data

    async def send_all(self, data: bytes) -> None:
        if self.peer_gone:
            raise StreamBroken
        self._parser.receive_data(data)
        with trio.CancelScope() as self._sending:
            while (event := self._parser.next_event()) is not h11.NEED_DATA:
                await self._hear(self._as_message(event))
                if isinstance(event, h11.EndOfMessage):
                    return
        if self._sending.cancelled_caught:
            raise StreamBroken

    @staticmethod
    def _as_message(event: object) -> dict[str, Any]:
        match event:
            case h11.Response(status_code=status, headers=headers):
                told = [pair for pair in headers if pair[0] != b"transfer-encoding"]
                return {"type": "http.response.start", "status": status, "headers": told}
            case h11.Data(data=data):
                return {"type": "http.response.body", "body": bytes(data), "more_body": True}
            case h11.EndOfMessage():
                return {"type": "http.response.body", "body": b"", "more_body": False}
            case _:
                raise AssertionError(event)

    def abort(self) -> None:
        self.close()

    def close(self) -> None:
        self._gone.set()
        self._sending.cancel()

    async def aclose(self) -> None:
        self.close()
