"""`/health` and `/ready`: alive, and ready for requests."""

from __future__ import annotations

import pytest
import trio

from llmlb.errors import StoreUnavailable
from tests.fakes.openai import chat
from tests.fakes.served import Served
from tests.fakes.upstream import hangs


async def test_alive_and_ready(served: Served) -> None:
    alive = await served("GET", "/health")
    assert alive.json == {"status": "ok"}
    assert "connection" not in alive.headers
    assert (await served("GET", "/ready")).json == {"status": "ready"}
    assert (await served("HEAD", "/ready")).status == 200


async def test_while_draining_it_is_alive_but_not_ready(
    served: Served, nursery: trio.Nursery
) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", hangs)
    running = served.begin(served.request("POST", "/v1/chat/completions", chat()))
    await trio.testing.wait_all_tasks_blocked()
    nursery.start_soon(served.app.house.drain)
    await trio.testing.wait_all_tasks_blocked()

    ready = await served("GET", "/ready")
    assert (ready.status, ready.error["code"]) == (503, "shutting_down")
    assert ready.headers["retry-after"] == "5"
    assert ready.headers["connection"] == "close", "the next request is for somebody else"
    assert (await served("GET", "/health")).status == 200
    refused = await served.post("/v1/chat/completions", chat())
    assert (refused.status, refused.error["code"]) == (503, "shutting_down")
    assert (await served("GET", "/v1/models")).status == 200, "reading goes on"
    running.leave()


async def test_without_its_database_it_is_not_ready(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ping() -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(served.app.house.store, "ping", ping, raising=True)
    reply = await served("GET", "/ready")

    assert (reply.status, reply.error["code"]) == (503, "store_unavailable")
    assert trio.current_time() == pytest.approx(2)


async def test_a_database_that_refuses_makes_it_unready(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ping() -> None:
        await trio.lowlevel.checkpoint()
        raise StoreUnavailable("The disk is full.")

    monkeypatch.setattr(served.app.house.store, "ping", ping, raising=True)

    assert (await served("GET", "/ready")).error["message"] == "The disk is full."
