"""The routes of the log: who finds what, how it is followed, and how much is logged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
from pydantic import TypeAdapter
from trio.testing import wait_all_tasks_blocked

from llmlb.http.logs.tail import KEPT_ENTRIES, MOST_FOLLOWERS, LogTail
from llmlb.http.manage.following import KEEP_ALIVE_EVERY_S, TAKING_LIMIT_S
from llmlb.http.openapi.logs import LogLevelShown, LogShown
from tests.fakes.asgi import Request
from tests.fakes.served import Served

LOG = "/api/dashboard/logs/lb"
LEVEL = "/api/system/logging"

log = structlog.get_logger()


async def look(served: Served, query: str = "") -> dict[str, Any]:
    reply = await served("GET", LOG, query_string=query.encode())
    assert reply.status == 200, reply.body
    found: dict[str, Any] = reply.json
    return found


def messages(found: dict[str, Any]) -> list[str]:
    return [entry["message"] for entry in found["entries"]]


def told(request: Request) -> list[dict[str, Any]]:
    pieces = [line for line in request.body.decode().split("\n\n") if line.startswith("data: ")]
    return [json.loads(piece.removeprefix("data: ")) for piece in pieces]


async def follow(served: Served, query: str = "follow=true", **more: Any) -> Request:
    request = served.begin(served.request("GET", LOG, query_string=query.encode(), **more))
    await wait_all_tasks_blocked()
    return request


async def test_the_newest_entries_are_shown_in_the_older_products_shape(served: Served) -> None:
    for n in range(300):
        log.info("counted", n=n)
    log.debug("too quiet")
    log.error("failed", request_id="r-1", exc_info=ValueError("odd"))

    found = await look(served)
    TypeAdapter(LogShown).validate_json(json.dumps(found), strict=True)
    assert (found["source"], found["path"], len(found["entries"])) == ("load balancer", None, 200)
    assert [e["fields"]["n"] for e in found["entries"][:-1]] == list(range(101, 300))
    last = found["entries"][-1]
    assert last.keys() == {"timestamp", "level", "target", "message", "fields", "line"}
    assert (last["level"], last["target"], last["message"]) == ("error", __name__, "failed")
    assert last["fields"]["request_id"] == "r-1"
    assert last["fields"]["exception"][0]["exc_value"] == "odd"


async def test_one_can_ask_for_a_level_a_request_or_a_text(served: Served) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        log.warning("one", endpoint="Küche")
        log.error("two", deep={"said": ["Nothing but HAY"]})
    log.warning("three", request_id="r-2")

    for query, expected in {
        "request_id=r-1": ["one", "two"],
        "request_id=r-1&level=error": ["two"],
        "level=WARNING&limit=2": ["two", "three"],
        "text=k%C3%BCche": ["one"],
        "text=but+hay": ["two"],
        "text=r-2": ["three"],
        "text=needle": [],
    }.items():
        assert messages(await look(served, query)) == expected, query


async def test_what_is_asked_wrongly_is_said(served: Served) -> None:
    for query, param in [
        *((f"limit={said}", "limit") for said in ("0", "1001", "-1", "x", "", "1_0", "9" * 99)),
        ("level=loud", "level"),
        ("text=" + "x" * 201, "text"),
        ("follow=perhaps", "follow"),
    ]:
        reply = await served("GET", LOG, query_string=query.encode())
        assert (reply.status, reply.error["param"]) == (400, param)
        assert param in reply.error["message"]


@pytest.mark.parametrize(
    ("query", "headers"), [("follow=true", {}), ("", {"accept": "text/event-stream"})]
)
async def test_the_log_can_be_followed(served: Served, query: str, headers: dict[str, str]) -> None:
    log.warning("before")
    request = await follow(served, f"{query}&level=warning&limit=1", headers=headers)
    assert request.headers["content-type"] == "text/event-stream"
    assert request.headers["cache-control"] == "no-store"
    log.info("not wanted")
    log.warning("after\n\ndata: x")
    await wait_all_tasks_blocked()

    assert [(t["type"], t["message"]) for t in told(request)] == [
        ("entry", "before"),
        ("entry", "after\n\ndata: x"),
    ]
    assert told(request)[0]["target"] == __name__
    n_pieces = len(request.answer)
    await trio.sleep(KEEP_ALIVE_EVERY_S + 1)
    assert request.answer[n_pieces]["body"].startswith(b": "), "a comment keeps it alive"
    request.leave()
    await request.over.wait()
    assert served.app.logs.tail._followers == 0


async def test_one_that_is_slow_is_told_how_much_it_has_missed(served: Served) -> None:
    tail = served.app.logs.tail = LogTail(most_entries=10)
    request = served.request("GET", LOG, query_string=b"follow=1")
    request._stuck_at = "http.response.body"
    served.begin(request)
    await wait_all_tasks_blocked()
    assert tail._followers == 1
    for n in range(25):
        tail.add({"event": "x", "n": n}, 20, 1)
    await trio.sleep(TAKING_LIMIT_S + 1)
    await wait_all_tasks_blocked()
    assert tail._followers == 0, "one that takes nothing is let go"

    request = await follow(served)
    assert [t["fields"]["n"] for t in told(request)] == list(range(15, 25))
    for n in range(25, 50):  # without a moment for the other to read them
        tail.add({"event": "x", "n": n}, 20, 1)
    await wait_all_tasks_blocked()
    dropped, *rest = told(request)[10:]
    assert dropped == {"type": "dropped", "count": 15}
    assert [t["fields"]["n"] for t in rest] == list(range(40, 50))


async def test_a_long_past_comes_in_pieces(served: Served) -> None:
    for n in range(KEPT_ENTRIES + 10):
        served.app.logs.tail.add({"event": "x", "n": n}, 20, 1)
    request = await follow(served, "follow=true&limit=1000")
    assert len(told(request)) == 1000
    assert len([m for m in request.answer if b"data: " in m.get("body", b"")]) == 10


async def test_only_so_many_follow_it(served: Served) -> None:
    requests = [await follow(served) for _ in range(MOST_FOLLOWERS)]
    reply = await served("GET", LOG, query_string=b"follow=true")
    assert (reply.status, reply.error["code"]) == (503, "overloaded")
    assert reply.headers["retry-after"]
    requests[0].leave()
    await requests[0].over.wait()
    assert (await follow(served)).status == 200
    assert (await served("HEAD", LOG, query_string=b"follow=true")).status == 200


async def test_the_end_of_the_balancer_is_that_of_the_stream(served: Served) -> None:
    request = await follow(served)
    log.warning("the last word")
    served.app.cut_off()
    await request.over.wait()
    assert told(request)[-1]["message"] == "the last word"
    assert request.answer[-1]["more_body"] is False
    late = await served("GET", LOG, query_string=b"follow=true")
    assert (late.status, late.error["code"]) == (503, "shutting_down")


async def test_how_much_is_logged_can_be_changed_until_the_next_start(served: Served) -> None:
    shown = await served("GET", LEVEL)
    TypeAdapter(LogLevelShown).validate_json(shown.body, strict=True)
    assert shown.json == {"level": "info"}
    log.debug("before")
    changed = await served("PUT", LEVEL, b'{"level": "debug"}')
    assert (changed.status, changed.json) == (200, {"level": "debug"})
    log.debug("while it is so")
    assert (await served("PUT", "/v0/system/logging", b'{"level": "error"}')).status == 200
    log.warning("after")
    assert (await served("GET", LEVEL)).json == {"level": "error"}

    assert messages(await look(served))[-2:] == [
        "the log level was changed, until the next start",
        "while it is so",
    ]
    await trio.sleep(5)
    entries = (await served("GET", "/api/dashboard/audit-logs")).json["items"]
    assert [(e["action"], e["detail"]) for e in entries if e["action"] == "logging.edit"] == [
        ("logging.edit", "debug → error"),
        ("logging.edit", "info → debug"),
    ]


async def test_a_level_that_is_none_changes_nothing(served: Served) -> None:
    for body, code in [
        (b'{"level": "loud"}', "invalid_value"),
        (b'{"level": "critical"}', "invalid_value"),
        (b"{}", "missing_field"),
        (b'{"level": 10}', "invalid_value"),
        (b'{"level": "info", "logger": "x"}', "invalid_value"),
        (b"loud", "invalid_json"),
    ]:
        reply = await served("PUT", LEVEL, body)
        assert (reply.status, reply.error["code"]) == (400, code)
    assert served.app.logs.level == "info"


class TestWithAFile:
    @pytest.fixture
    def settings(self, tmp_path: Path) -> dict[str, Any]:
        return {"log_file": tmp_path / "llmlb.jsonl"}

    @pytest.mark.trio
    async def test_its_place_is_told_and_all_is_in_it_at_the_end(
        self, served: Served, tmp_path: Path
    ) -> None:
        path = tmp_path / "llmlb.jsonl"
        assert (await look(served))["path"] == str(path)
        log.info("written")
        await served.lifespan.stop()
        assert "written" in [json.loads(line)["event"] for line in path.read_text().splitlines()]
