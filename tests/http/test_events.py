"""The stream of events: what a client that follows it reads, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any, get_args

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from llmlb.actors.feed import KEPT_EVENTS, MOST_SUBSCRIBERS, Batch
from llmlb.event_json import Told
from llmlb.events import (
    CircuitOpened,
    EndpointRemoved,
    EndpointStatusChanged,
    Event,
    StorageUnwell,
    StorageWell,
)
from llmlb.http.manage.event_json import IN_A_PIECE, NOT_KNOWN, EventIds
from llmlb.http.manage.following import KEEP_ALIVE_EVERY_S, TAKING_LIMIT_S
from llmlb.types import EndpointId, Status
from tests.fakes.asgi import Request
from tests.fakes.house import NOW
from tests.fakes.openai import chat
from tests.fakes.served import Served
from tests.fakes.upstream import hangs

EVENTS = "/api/dashboard/events"


def frames(body: bytes) -> list[dict[str, str]]:
    """The frames of a stream, each with its fields; comments are not among them."""
    *whole, rest = body.decode("ascii").split("\n\n")
    assert rest == "", "every frame is whole"
    found = []
    for frame in whole:
        lines = [line.partition(": ") for line in frame.split("\n") if not line.startswith(":")]
        if lines:
            assert all(found for _, found, _ in lines), frame
            found.append({name: text for name, _, text in lines})
            assert len(found[-1]) == len(lines), "no field is said twice"
    return found


def said(request: Request) -> list[dict[str, Any]]:
    """What the frames so far say."""
    return [json.loads(frame["data"]) for frame in frames(request.body)]


def kinds(request: Request) -> list[str]:
    return [frame["type"] for frame in said(request)]


async def follow(
    served: Served, path: str = EVENTS, headers: Mapping[str, str] | None = None, **more: Any
) -> Request:
    request = served.begin(served.request("GET", path, headers=headers, **more))
    await trio.testing.wait_all_tasks_blocked()
    return request


async def tell(served: Served, *events: Event) -> None:
    for event in events:
        served.app.house.tell_event(event)
    await trio.testing.wait_all_tasks_blocked()


def subscribers(served: Served) -> int:
    return served.app.house.feed.statistics().subscribers


async def test_it_begins_with_how_it_goes_on_and_when_to_come_back(served: Served) -> None:
    request = await follow(served)

    assert request.status == 200
    assert request.headers["content-type"] == "text/event-stream"
    assert request.headers["cache-control"] == "no-store"
    assert request.headers["x-accel-buffering"] == "no"
    assert request.headers["x-request-id"]
    assert "content-length" not in request.headers
    (first,) = frames(request.body)
    assert first.keys() == {"retry", "id", "data"}
    assert first["retry"] == "3000"
    assert kinds(request) == ["connected"]


@pytest.mark.parametrize("prefix", ["/api", "/v0"])
async def test_what_happens_to_an_endpoint_is_told(served: Served, prefix: str) -> None:
    request = await follow(served, f"{prefix}/dashboard/events")

    await served.scene.endpoint("a", "x", "y")
    await served("PUT", "/api/endpoints/id-a", b'{"notes": "mine"}')
    await served("POST", "/api/endpoints/id-a/drain")
    await served("DELETE", "/api/endpoints/id-a")
    await trio.testing.wait_all_tasks_blocked()

    _, *events = said(request)
    assert [event["type"] for event in events] == [
        "EndpointRegistered",
        "EndpointStatusChanged",
        "EndpointUpdated",  # its engine has been found
        "ModelsChanged",
        "EndpointUpdated",  # its device has been asked for
        "EndpointUpdated",
        "EndpointUpdated",
        "EndpointRemoved",
    ]
    assert [event["seq"] for event in events] == list(range(1, 9))
    assert events[1] == {
        "type": "EndpointStatusChanged",
        "seq": 2,
        "at": "2026-03-01T12:00:00.000Z",
        "data": {
            "endpoint_id": "id-a",
            "runtime_id": "id-a",
            "name": "a",
            "old_status": "pending",
            "new_status": "online",
            "reason": None,
        },
    }
    assert events[3]["data"]["added"] == ["x", "y"]
    assert events[6]["data"]["mode"] == "draining"


async def test_an_endpoint_that_fails_is_told_with_the_reason(served: Served) -> None:
    one = await served.scene.endpoint("a")
    request = await follow(served)
    served.app.house.refused_us(one, "the key is refused")
    await trio.testing.wait_all_tasks_blocked()
    data = said(request)[-1]["data"]
    assert (data["new_status"], data["reason"]) == ("error", "the key is refused")


async def test_endpoints_of_an_earlier_run_are_no_news(served: Served) -> None:
    assert served.app.house.feed.statistics().events == 0


async def test_no_secret_is_told(served: Served) -> None:
    request = await follow(served)
    await served.scene.endpoint("a", api_key="sk-secret", extra_headers=(("x-s", "secret-2"),))
    await trio.testing.wait_all_tasks_blocked()
    assert len(said(request)) > 2
    assert b"secret" not in request.body


# -- coming back


async def test_a_client_that_comes_back_goes_on_where_it_left_off(served: Served) -> None:
    first = await follow(served)
    await tell(served, StorageUnwell("full"), StorageWell())
    last_id = frames(first.body)[1]["id"]
    first.leave()
    await first.over.wait()
    await tell(served, StorageUnwell("slow"))

    second = await follow(served, headers={"last-event-id": last_id})

    assert kinds(second) == ["connected", "StorageWell", "StorageUnwell"]
    ids = [frame["id"] for frame in frames(second.body)]
    assert ids[0] == last_id, "the greeting is no new place"
    assert len(set(ids)) == 3


@pytest.mark.parametrize("strange", ["17", "another-run-1", "-1", "-", "x", "\u00b2", "a" * 9999])
async def test_an_id_of_another_run_or_of_nobody_begins_anew(served: Served, strange: str) -> None:
    await tell(served, StorageWell())
    request = await follow(served, headers={"last-event-id": strange})
    assert kinds(request) == ["reset"]
    await tell(served, StorageUnwell("full"))
    assert kinds(request) == ["reset", "StorageUnwell"]

    again = await follow(served, headers={"last-event-id": frames(request.body)[0]["id"]})
    assert kinds(again) == ["connected", "StorageUnwell"]


async def test_an_id_that_is_too_old_begins_anew(served: Served) -> None:
    first = await follow(served)
    await tell(served, *(StorageUnwell(str(n)) for n in range(KEPT_EVENTS + 1)))
    last_id = frames(first.body)[0]["id"]
    request = await follow(served, headers={"last-event-id": last_id})
    assert kinds(request) == ["reset"]


async def test_an_empty_id_is_none(served: Served) -> None:
    assert kinds(await follow(served, headers={"last-event-id": ""})) == ["connected"]


@given(st.integers(0, 10**15 - 1), st.text())
def test_every_id_is_read_as_it_was_given_and_others_are_not_known(seq: int, other: str) -> None:
    ids = EventIds("run")
    assert ids.seq_of(ids.of(seq)) == seq
    assert EventIds("other").seq_of(ids.of(seq)) == NOT_KNOWN
    assert ids.seq_of(other) in (None if not other else NOT_KNOWN, NOT_KNOWN)


# -- quiet, slow and gone clients


async def test_a_comment_comes_when_nothing_happens(served: Served) -> None:
    request = await follow(served, query_string=b"types=StorageWell,RequestFinished")
    before = len(request.answer)
    await trio.sleep(3 * KEEP_ALIVE_EVERY_S + 1)
    assert [m["body"] for m in request.answer[before:]] == [b": still there\n\n"] * 3
    await tell(served, StorageWell())
    assert kinds(request) == ["connected", "StorageWell"]


async def test_a_client_that_leaves_is_forgotten_at_once(served: Served) -> None:
    request = await follow(served)
    assert subscribers(served) == 1
    now_s = trio.current_time()
    request.leave()
    await request.over.wait()
    await trio.testing.wait_all_tasks_blocked()
    assert subscribers(served) == 0
    assert trio.current_time() == now_s


@pytest.mark.parametrize("stuck_at", ["http.response.start", "http.response.body"])
async def test_a_client_that_takes_nothing_is_given_up(served: Served, stuck_at: str) -> None:
    request = await follow(served, stuck_at=stuck_at)
    other = await follow(served)
    await tell(served, StorageWell())
    assert kinds(other) == ["connected", "StorageWell"], "it holds up nobody"
    assert subscribers(served) == 2
    await trio.sleep(TAKING_LIMIT_S + 1)
    assert subscribers(served) == 1
    assert not request.complete
    request.leave()
    await trio.testing.wait_all_tasks_blocked()


async def test_a_client_that_is_slow_is_told_how_much_it_has_missed(served: Served) -> None:
    slow = Slow(served.app, "GET", EVENTS, query_string=b"types=StorageUnwell")
    served.begin(slow)
    await trio.testing.wait_all_tasks_blocked()
    await tell(served, *(StorageUnwell(str(n)) for n in range(KEPT_EVENTS + 5)))
    await trio.sleep((2 + KEPT_EVENTS // IN_A_PIECE) * Slow.TAKES_S)
    greeting, dropped, *events = said(slow)
    assert greeting["type"] == "connected"
    assert dropped == {"type": "dropped", "count": 5}
    assert [e["data"]["reason"] for e in events] == [str(n) for n in range(5, KEPT_EVENTS + 5)]
    assert "id" not in frames(slow.body)[1], "it is no place to go on from"


class Slow(Request):
    """A client that takes its time over each piece."""

    TAKES_S = 20.0

    async def _hear(self, message: dict[str, Any]) -> None:
        await super()._hear(message)
        if message["type"] == "http.response.body":
            await trio.sleep(self.TAKES_S)


async def test_one_client_too_many_is_told_to_come_back(served: Served) -> None:
    many = [await follow(served) for _ in range(MOST_SUBSCRIBERS)]
    refused = await served("GET", EVENTS)
    assert (refused.status, refused.error["code"]) == (503, "overloaded")
    assert refused.headers["retry-after"] == "30"
    many[0].leave()
    await many[0].over.wait()
    assert kinds(await follow(served)) == ["connected"]


async def test_whoever_asks_for_the_head_alone_gets_it_and_no_more(served: Served) -> None:
    reply = await served("HEAD", EVENTS)
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["content-type"] == "text/event-stream"
    assert subscribers(served) == 0


async def test_a_stranger_follows_nothing(served: Served) -> None:
    reply = await served("GET", EVENTS, client=("192.168.1.7", 5))
    assert reply.error["code"] == "setup_required"


async def test_no_page_of_another_site_follows(served: Served) -> None:
    reply = await served("GET", EVENTS, headers={"origin": "https://elsewhere.example"})
    assert reply.error["code"] == "setup_required"


# -- the end


async def test_the_drain_waits_for_nobody_who_follows_and_is_told(served: Served) -> None:
    reading = await follow(served)
    stuck = await follow(served, stuck_at="http.response.body")
    now_s = trio.current_time()
    await served.app.house.drain()
    await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() == now_s
    assert kinds(reading) == ["connected", "Draining"]
    assert not reading.complete, "what is left of the drain can be watched"
    stuck.leave()


async def test_a_drain_can_be_followed_while_it_lasts(served: Served) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", hangs)
    running = served.begin(served.request("POST", "/v1/chat/completions", chat()))
    await trio.testing.wait_all_tasks_blocked()
    with trio.move_on_after(1) as draining:
        await served.app.house.drain()
    assert draining.cancelled_caught
    assert kinds(await follow(served)) == ["connected"]
    running.leave()


async def test_a_stream_ends_in_good_order_when_the_balancer_stops(served: Served) -> None:
    request = await follow(served)
    now_s = trio.current_time()
    served.app.cut_off()
    await request.over.wait()
    assert kinds(request) == ["connected", "ServerStopping"]
    assert request.complete
    assert trio.current_time() == now_s
    late = await served("GET", EVENTS)
    assert (late.status, late.error["code"]) == (503, "shutting_down")


async def test_a_stream_ends_with_the_house_though_nobody_has_cut_it_off(served: Served) -> None:
    request = await follow(served)
    await served.lifespan.stop()
    await request.over.wait()
    assert kinds(request) == ["connected", "ServerStopping"]
    assert request.complete


async def test_a_slow_stream_breaks_off_when_the_house_is_gone(served: Served) -> None:
    slow = Slow(served.app, "GET", EVENTS)
    served.begin(slow)
    await trio.testing.wait_all_tasks_blocked()
    await served.lifespan.stop()
    await slow.over.wait()
    assert kinds(slow) == ["connected"]
    assert not slow.complete, "nobody can take it for the end"


async def test_nobody_follows_a_house_that_has_just_closed(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    premises = served.app._premises
    await served.lifespan.stop()
    monkeypatch.setattr(served.app, "_premises", premises)
    reply = await served("GET", EVENTS)
    assert (reply.status, reply.error["code"]) == (503, "shutting_down")
    assert reply.headers["retry-after"] == "5"


# -- what an event looks like

ID = EndpointId("id-a")


@given(st.text())
def test_a_frame_is_one_line_whatever_names_hold(name: str) -> None:
    one = Told(7, NOW, EndpointRemoved(ID, name))
    body = b"".join(EventIds("run").told(Batch((one,))))
    (frame,) = frames(body)
    assert frame["id"] == "run-7"
    assert json.loads(frame["data"])["data"]["name"] == name


def test_whoever_is_slow_holds_one_piece_and_no_copy_of_all_that_is_kept() -> None:
    events = tuple(Told(n, NOW, EndpointRemoved(ID, f"name {n}")) for n in range(1, 1001))
    ids, batch = EventIds("run"), Batch(events, dropped=3)
    slow = ids.told(batch)
    begun = next(slow)
    [small] = ids.told(Batch(events[:1]))  # meanwhile others have been told more
    pieces = [begun, *slow]

    assert max(map(len, pieces)) < len(b"".join(pieces)) / 9
    dropped, *told = frames(b"".join(pieces))
    assert json.loads(dropped["data"]) == {"type": "dropped", "count": 3}
    assert [frame["id"] for frame in told] == [f"run-{n}" for n in range(1, 1001)]
    assert frames(small) == told[:1]
    assert [*map(id, ids.told(batch))] == [*map(id, ids.told(batch))], "shared by all"


def test_times_are_told_in_utc_and_texts_as_they_are() -> None:
    one = Told(1, NOW + timedelta(milliseconds=1), CircuitOpened(ID, "a", 3, 1.5))
    (frame,) = frames(b"".join(EventIds("run").told(Batch((one,)))))
    assert json.loads(frame["data"]) == {
        "type": "CircuitOpened",
        "seq": 1,
        "at": "2026-03-01T12:00:00.001Z",
        "data": {
            "endpoint_id": "id-a",
            "name": "a",
            "failures": 3,
            "for_s": 1.5,
            "runtime_id": "id-a",
        },
    }


def test_the_older_products_fields_of_a_change_of_status_are_there() -> None:
    one = Told(1, NOW, EndpointStatusChanged(ID, "a", Status.ONLINE, Status.ERROR, "slow"))
    (frame,) = frames(b"".join(EventIds("run").told(Batch((one,)))))
    shown = json.loads(frame["data"])
    assert shown["type"] == "EndpointStatusChanged"
    assert shown["data"].items() >= {
        ("runtime_id", "id-a"),
        ("old_status", "online"),
        ("new_status", "error"),
    }


async def test_every_kind_of_event_is_described(served: Served) -> None:
    document = (await served("GET", "/openapi.json")).json
    description = document["paths"][EVENTS]["get"]["description"]
    for kind in get_args(Event):
        data = ", ".join(f"`{field.name}`" for field in fields(kind))
        assert f"- `{kind.__name__}`{f' ({data})' if data else ''}: {kind.__doc__}" in description
