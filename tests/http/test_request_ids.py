"""The id of a request is in every log entry that belongs to it, and in no other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
import trio
from structlog.contextvars import get_contextvars
from trio.testing import wait_all_tasks_blocked

from llmlb.errors import Overloaded, StoreUnavailable
from tests.fakes.openai import chat, completion
from tests.fakes.served import Served
from tests.fakes.upstream import hangs, json_answer

log = structlog.get_logger()

CHAT = "/v1/chat/completions"


def logged(served: Served) -> list[tuple[Any, Any]]:
    """Event and request id of each entry."""
    return [(e.told["event"], e.told.get("request_id")) for e in served.app.logs.tail.all()]


def tasks_below(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    yield task
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from tasks_below(child)


def ids_that_live_on() -> set[str]:
    """The ids of requests that some task would put into what it logs."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    found = (task.context.copy().run(get_contextvars) for task in tasks_below(root))
    return {told["request_id"] for told in found if "request_id" in told}


async def test_requests_that_overlap_are_told_apart(served: Served) -> None:
    await served.scene.endpoint("a", "tiny", slots=100)
    served.scene.on("a", json_answer({"error": "no"}, 500))
    async with trio.open_nursery() as nursery:
        for n in range(5):
            headers = {"x-request-id": f"r-{n}"}
            nursery.start_soon(served.request("POST", CHAT, chat(), headers=headers).run)

    failed = [id_ for event, id_ in logged(served) if event == "an endpoint failed a request"]
    assert sorted(set(failed)) == [f"r-{n}" for n in range(5)]


async def test_one_that_has_none_gets_one_and_is_told_it(served: Served) -> None:
    await served.scene.endpoint("a", "tiny")
    served.scene.on("a", json_answer({"error": "no"}, 500))
    reply = await served("POST", CHAT, chat(), headers={"x-request-id": "no sane one"})
    assert ("an endpoint failed a request", reply.headers["x-request-id"]) in logged(served)
    assert get_contextvars() == {}, "nothing is left behind"


async def test_a_fault_of_ours_is_found_by_it(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("oops")

    monkeypatch.setattr("llmlb.http.manage.endpoints.Figures.of", breaks)
    monkeypatch.setattr("llmlb.http.exchange.read_request", breaks)
    for method, path, event in (
        ("GET", "/api/endpoints", "a request failed"),
        ("POST", CHAT, "an exchange failed"),
    ):
        reply = await served(method, path, chat(), headers={"x-request-id": "r-7"})
        assert reply.status == 500
        assert logged(served)[-1] == (event, "r-7")


async def test_what_actors_log_of_a_change_has_the_id_of_who_wanted_it(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        await trio.lowlevel.checkpoint()
        raise StoreUnavailable("no")

    store = served.app.house.store
    monkeypatch.setattr(store.endpoints, "insert", refuse)
    monkeypatch.setattr(store.accounts, "change", refuse)
    body = json.dumps({"name": "b", "base_url": "http://b.lan"}).encode()
    await served.post("/api/endpoints", body, headers={"x-request-id": "r-1"})
    form = {"token": served.app.doors.setup._token, "username": "ann", "password": "correct horse"}
    await served.post("/setup", json.dumps(form).encode(), headers={
        "x-request-id": "r-2", "content-type": "application/json"})  # fmt: skip

    assert ("a change of endpoints was not saved", "r-1") in logged(served)
    assert ("a change of accounts was not saved", "r-2") in logged(served)


async def test_what_is_logged_of_a_body_has_it_too(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        log.error("no room")
        raise Overloaded("No room.")

    monkeypatch.setattr("llmlb.http.intake.reception.Reception.intake_for", refuse)
    reply = await served.post(CHAT, chat())
    assert ("no room", reply.headers["x-request-id"]) in logged(served)


async def test_no_task_that_goes_on_keeps_the_id_of_one_request(served: Served) -> None:
    body = json.dumps({"name": "b", "base_url": "http://b.lan"}).encode()
    await served.scene.endpoint("a", "tiny")
    served.scene.on("a", json_answer(completion()))
    made = await served.post("/api/endpoints", body)
    one = f"/api/endpoints/{made.json['id']}"
    for method, path, sent in (
        ("POST", CHAT, chat()),
        ("PUT", one, b'{"notes": "x"}'),
        ("POST", f"{one}/test", b""),
        ("POST", "/api/endpoints/id-a/sync", b""),
        ("POST", f"{one}/disable", b""),
        ("POST", f"{one}/enable", b""),
        ("PUT", "/api/system/logging", b'{"level": "debug"}'),
        ("POST", "/api/auth/login", b'{"username": "x", "password": "y"}'),
        ("POST", "/api/dashboard/audit-logs/verify", b""),
        ("DELETE", one, b""),
    ):
        assert (await served(method, path, sent)).status < 500
    await wait_all_tasks_blocked()
    assert ids_that_live_on() == set()

    served.scene.on("a", hangs)
    served.begin(request := served.request("POST", CHAT, chat(), headers={"x-request-id": "r-1"}))
    await wait_all_tasks_blocked()
    assert ids_that_live_on() == {"r-1"}, "while it is under way"
    request.leave()
    await request.over.wait()
    assert ids_that_live_on() == set()
    await trio.sleep(100)  # probes, sweeps and writes
    assert ids_that_live_on() == set()
