"""How connections are taken: what breaks on one of them stays there."""

from __future__ import annotations

from inspect import signature
from typing import cast

import pytest
import trio
import trio.testing
from hypercorn.config import Config
from hypercorn.events import Event
from hypercorn.trio import run as hypercorn_run
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app
from structlog.testing import capture_logs

from llmlb.http.wire.http1 import Http1
from llmlb.http.wire.serving import Taken, connections_of_ours
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
            await Taken(LIMITS, app, Config(), WorkerContext(None), ConnectionState({}), stream)

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


def test_hypercorn_still_has_the_place_that_is_taken() -> None:
    """If this fails, hypercorn is built otherwise: see what it makes for each connection now."""

    def place() -> object:
        return vars(hypercorn_run)["TCPServer"]

    assert place() is TCPServer
    assert list(signature(TCPServer).parameters) == ["app", "config", "context", "state", "stream"]
    assert "TCPServer" in hypercorn_run.worker_serve.__code__.co_names
    with connections_of_ours(LIMITS):
        assert place() is not TCPServer
    assert place() is TCPServer
