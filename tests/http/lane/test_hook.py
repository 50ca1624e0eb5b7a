"""How hypercorn's connections are offered to the application, and only to ours."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from hypercorn.config import Config
from hypercorn.trio import run as hypercorn_run
from hypercorn.trio import serve
from hypercorn.trio.tcp_server import TCPServer
from structlog.testing import capture_logs

from llmlb.http.application import create_app
from llmlb.http.lane import lane
from llmlb.http.lane.hook import Taken, TakesConnections, install, uninstall
from llmlb.http.lane.lane import lane_fits

HEALTH = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


def place() -> object:
    return vars(hypercorn_run)["TCPServer"]


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    """Other tests find it as the application leaves it."""
    yield
    install()


def test_it_is_installed_with_the_first_application_and_can_be_undone() -> None:
    """If this fails, hypercorn is built otherwise: see what it makes for each connection now."""
    uninstall()
    assert isinstance(create_app(), TakesConnections)
    assert place() is Taken
    install()
    assert Taken.original is TCPServer, "twice is as good as once"
    assert "TCPServer" in hypercorn_run.worker_serve.__code__.co_names

    uninstall()
    assert place() is TCPServer
    uninstall()
    assert place() is TCPServer


class BuiltOtherwise:
    def __init__(self, app: object, more: object) -> None: ...


@pytest.mark.parametrize("now", [None, BuiltOtherwise])
def test_a_hypercorn_that_is_built_otherwise_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, now: object
) -> None:
    monkeypatch.setattr(hypercorn_run, "TCPServer", now)
    with capture_logs() as logs:
        install()
    assert place() is now
    assert len(logs) == 1
    uninstall()
    assert place() is now


def test_the_lane_is_off_with_a_hypercorn_that_is_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert lane_fits()
    monkeypatch.setattr(lane, "version", lambda _: "99.0")
    with capture_logs() as logs:
        assert not lane_fits()
    assert logs == [
        {
            "event": "the lane is off, for this hypercorn is not known",
            "log_level": "warning",
            "version": "99.0",
        }
    ]


async def somebody_elses(scope: Any, receive: Any, send: Any) -> None:
    """Another application in the same process."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    headers = [(b"content-length", b"2"), (b"x-path", scope["raw_path"])]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok", "more_body": False})


@pytest.mark.trio(run=trio.run)
async def test_another_application_is_served_by_hypercorn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install()
    served: list[object] = []

    class Noted(TCPServer):
        async def run(self) -> None:
            served.append(self.stream)
            await super().run()

    monkeypatch.setattr(Taken, "original", Noted)
    config, listener = Config(), socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config.bind, config.loglevel = [f"fd://{listener.detach()}"], "ERROR"
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve(somebody_elses, config, shutdown_trigger=stop.wait))
        with trio.fail_after(10):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(HEALTH)
                received = b"".join([bytes(data) async for data in stream])
            stop.set()
    assert received.startswith(b"HTTP/1.1 200")
    assert b"x-path: /health" in received
    assert len(served) == 1
