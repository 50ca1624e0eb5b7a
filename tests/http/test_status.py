"""`/health` and `/ready`: alive, and ready for requests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.fakes.openai import chat, completion
from tests.fakes.served import Served
from tests.fakes.trouble import PASSING
from tests.fakes.upstream import hangs, json_answer, replies

READY = {"status": "ready"}


async def test_alive_and_ready(served: Served) -> None:
    alive = await served("GET", "/health")
    assert alive.json == {"status": "ok"}
    assert "connection" not in alive.headers
    assert (await served("GET", "/ready")).json == READY
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


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    return {"database_url": f"sqlite:{tmp_path / 'llmlb.db'}"}


@pytest.mark.parametrize("name", PASSING)
async def test_without_its_database_it_serves_on_and_says_what_is_unwell(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", replies(json_answer(completion())))
    await trio.sleep(1)  # what is observed of it has been written
    store = served.app.house.store
    await store._database.run(lambda connection: connection.execute("PRAGMA busy_timeout = 10"))
    form = json.dumps({"name": "b", "base_url": "http://b.lan", "notes": "n" * 9000}).encode()
    with PASSING[name](store, tmp_path / "llmlb.db"):
        refused = await served.post("/api/endpoints", form)
        assert (refused.status, refused.error["code"]) == (503, "store_unavailable")
        assert refused.headers["retry-after"] == "10"

        ready = await served("GET", "/ready")
        assert (ready.status, ready.error["code"]) == (503, "store_unavailable")
        reason = ready.error["message"].partition("(")[2].partition(")")[0]
        assert reason
        assert reason in refused.error["message"]
        assert str(tmp_path) not in ready.error["message"]
        assert (await served("GET", "/health")).status == 200

        assert (await served.post("/v1/chat/completions", chat())).status == 200
        assert len(served.app.house.registry.catalog.endpoints) == 1
    await trio.sleep(30)
    assert (await served("GET", "/ready")).json == READY
    assert (await served.post("/api/endpoints", form)).status == 201


async def test_a_database_that_hangs_does_not_hang_the_question(served: Served) -> None:
    store = served.app.house.store
    async with store._database._slot:
        with trio.fail_after(1):
            assert (await served("GET", "/ready")).status == 200
