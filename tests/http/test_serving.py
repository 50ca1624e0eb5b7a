"""How connections are taken: what breaks on one of them stays there."""

from __future__ import annotations

from typing import cast

import pytest
import trio
import trio.testing
from hypercorn.config import Config
from hypercorn.events import Event
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.utils import wrap_app
from structlog.testing import capture_logs

from llmlb.http.lane.taking import Server, serve_taken
from llmlb.http.wire.http1 import Http1
from tests.fakes.served import Served
from tests.fakes.wire import LIMITS

HEALTH = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"


class SocketName:
    """As much of a socket as is asked."""

    def __init__(self, name: tuple[str, int] | None) -> None:
        self._name = name

    def getpeername(self) -> tuple[str, int]:
        if self._name is None:
            raise OSError("not connected")
        return self._name

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 32768


async def taken(served: Served, name: tuple[str, int] | None) -> bytes:
    """What a client gets that asks for its health, and leaves when it has an answer."""
    mine, its_end = trio.testing.memory_stream_pair()
    its_end.socket = SocketName(name)  # type: ignore[attr-defined]
    app = wrap_app(served.app, 0, "asgi")
    async with trio.open_nursery() as nursery:
        stream = cast("trio.SocketStream", its_end)

        async def take() -> None:
            server = Server(app, Config(), WorkerContext(None), None)
            await serve_taken(server, stream, LIMITS, None)

        nursery.start_soon(take)
        await mine.send_all(HEALTH)
        received = bytes(await mine.receive_some())
        await mine.aclose()
    return received


async def test_what_breaks_on_one_connection_is_logged_and_stays_there(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Http1.handle

    async def breaks(self: Http1, event: Event) -> None:
        raise UnicodeDecodeError("ascii", b"\xff", 0, 1, "as hypercorn may raise it")

    monkeypatch.setattr(Http1, "handle", breaks)
    with capture_logs() as logs:
        assert await taken(served, ("127.0.0.1", 5000)) == b""
    assert [log["event"] for log in logs] == ["a connection failed"]
    assert logs[0]["client"] == "127.0.0.1"

    monkeypatch.setattr(Http1, "handle", original)
    assert (await taken(served, ("127.0.0.1", 5001))).startswith(b"HTTP/1.1 200")


async def test_a_connection_that_is_gone_again_is_left_alone(served: Served) -> None:
    with capture_logs() as logs:
        with trio.move_on_after(1) as patience:
            await taken(served, None)
    assert patience.cancelled_caught, "it is not answered"
    assert not logs
