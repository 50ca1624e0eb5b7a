"""The WebSocket of the dashboard: who may open it, what it tells, and how it ends."""

from __future__ import annotations

from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from llmlb.actors.feed import KEPT_EVENTS, MOST_SUBSCRIBERS
from llmlb.events import Event, StorageUnwell, StorageWell
from llmlb.http.asgi_websocket import CLOSE_LIMIT_S
from llmlb.http.manage.following import KEEP_ALIVE_EVERY_S, TAKING_LIMIT_S
from tests.fakes.asgi import Upgrade
from tests.fakes.openai import chat, finish, role, says, usage_alone
from tests.fakes.served import Served
from tests.fakes.upstream import hangs, sse_answer

SOCKET = "/ws/dashboard"
RARE = b"types=NodeRegistered,NodeRemoved,EndpointStatusChanged,StorageUnwell,StorageWell"


async def follow(served: Served, query: bytes = b"", **more: Any) -> Upgrade:
    request = served.request("WS", SOCKET, query_string=query, **more)
    assert isinstance(request, Upgrade)
    served.begin(request)
    await wait_all_tasks_blocked()
    return request


async def tell(served: Served, *events: Event) -> None:
    for event in events:
        served.app.house.tell_event(event)
    await wait_all_tasks_blocked()


def kinds(request: Upgrade) -> list[str]:
    return [message["type"] for message in request.messages]


def subscribers(served: Served) -> int:
    return served.app.house.feed.statistics().subscribers


async def test_the_first_message_says_that_it_is_connected(served: Served) -> None:
    request = await follow(served)
    (first,) = request.messages
    assert first.keys() == {"type", "message"}
    assert first["type"] == "connected"
    assert request.headers["x-request-id"]


async def test_it_tells_in_the_older_products_words(served: Served) -> None:
    request = await follow(served, RARE)
    await served.scene.endpoint("a", "x")
    await served("DELETE", "/api/endpoints/id-a")
    await wait_all_tasks_blocked()
    assert kinds(request) == [
        "connected",
        "NodeRegistered",
        "EndpointStatusChanged",
        "NodeRemoved",
    ]
    _, registered, changed, removed = (message.get("data") for message in request.messages)
    assert registered["runtime_id"] == registered["endpoint_id"] == "id-a"
    assert (registered["machine_name"], registered["ip_address"]) == ("a", "a.lan")
    assert (changed["old_status"], changed["new_status"]) == ("pending", "online")
    assert removed["runtime_id"] == "id-a"


async def test_the_names_of_the_stream_ask_for_the_same(served: Served) -> None:
    request = await follow(served, b"types=EndpointRegistered")
    await served.scene.endpoint("a")
    assert kinds(request) == ["connected", "NodeRegistered"]


async def test_a_name_that_is_none_is_refused_before_it_opens(served: Served) -> None:
    request = await follow(served, b"types=StorageWell,Nonsense")
    assert (request.status, request.error["param"]) == (400, "types")
    assert subscribers(served) == 0


async def test_what_a_client_says_is_passed_over(served: Served) -> None:
    request = await follow(served, RARE)
    for _ in range(50):
        request.say("hello")
    await wait_all_tasks_blocked()
    await tell(served, StorageWell())
    assert kinds(request) == ["connected", "StorageWell"]
    request.leave()
    await request.over.wait()
    await wait_all_tasks_blocked()
    assert subscribers(served) == 0


async def test_a_slow_client_is_told_how_much_it_has_missed(served: Served) -> None:
    class Slow(Upgrade):
        async def _hear(self, message: dict[str, Any]) -> None:
            await super()._hear(message)
            if message["type"] == "websocket.send":
                await trio.sleep(20)

    slow = Slow(served.app, SOCKET, query_string=RARE)
    served.begin(slow)
    await wait_all_tasks_blocked()
    await tell(served, *(StorageUnwell(str(n)) for n in range(KEPT_EVENTS + 5)))
    await trio.sleep(45)
    _, dropped, first = slow.messages[:3]
    assert dropped == {"type": "dropped", "data": {"count": 5}}
    assert first["data"]["reason"] == "5"
    slow.leave()
    await slow.over.wait()


async def test_a_client_that_takes_nothing_is_given_up(served: Served) -> None:
    deaf = await follow(served, stuck_at="http.response.body")
    other = await follow(served, RARE)
    await tell(served, StorageWell())
    assert kinds(other) == ["connected", "StorageWell"], "it holds up nobody"
    await trio.sleep(TAKING_LIMIT_S + CLOSE_LIMIT_S + 1)
    assert subscribers(served) == 1
    deaf.leave()
    await wait_all_tasks_blocked()


async def test_quiet_times_cost_no_message(served: Served) -> None:
    request = await follow(served, RARE)
    await trio.sleep(10 * KEEP_ALIVE_EVERY_S)
    assert kinds(request) == ["connected"]
    assert subscribers(served) == 1


async def test_one_too_many_is_an_answer_of_http(served: Served) -> None:
    feed = served.app.house.feed
    many = [await feed.subscribe() for _ in range(MOST_SUBSCRIBERS)]
    refused = await follow(served)
    assert (refused.status, refused.error["code"]) == (503, "overloaded")
    assert many


async def test_a_stop_closes_it_as_going_away(served: Served) -> None:
    request = await follow(served, RARE + b",ServerStopping")
    served.app.cut_off()
    await request.over.wait()
    assert kinds(request) == ["connected", "ServerStopping"]
    assert request.closed_with == 1001


async def test_http_is_told_to_open_it_as_what_it_is(served: Served) -> None:
    reply = await served("GET", SOCKET)
    assert reply.status == 400
    assert "is a WebSocket" in reply.error["message"]


async def test_a_request_is_told_with_its_speed_and_what_ran_meanwhile(served: Served) -> None:
    await served.scene.endpoint("a")
    pieces = [role(), 0.5, says("A"), 1.0, says("B"), 1.0, says("C"), finish(), usage_alone(7, 3)]
    served.scene.on("a", sse_answer(*pieces))
    request = await follow(served)

    await served("POST", "/v1/chat/completions", chat(stream=True))
    await trio.sleep(5)

    _, *told = request.messages
    data = {message["type"]: message["data"] for message in told}
    finished = data["RequestFinished"]
    assert (finished["status"], finished["outcome"], finished["endpoint_name"]) == (
        200,
        "succeeded",
        "a",
    )
    assert (finished["time_to_first_token_ms"], finished["tokens_per_s"]) == (500, 1.0)
    assert not {"client_address", "key_id", "user_id", "path"} & finished.keys()
    assert (
        data["TpsUpdated"].items()
        >= {
            "endpoint_id": "id-a",
            "model_id": "tiny",
            "tps": 1.0,
            "output_tokens": 3,
            "duration_ms": 2500,
        }.items()
    )
    loads = [message["data"] for message in told if message["type"] == "LoadChanged"]
    assert [load["in_flight"] for load in loads] == [{"id-a": 1}, {}]
    ticks = [message["data"] for message in told if message["type"] == "StatisticsTick"]
    assert [tick["total_in_flight"] for tick in ticks] == [1, 0]
    assert [tick["total_requests"] for tick in ticks] == [0, 1]
    assert ticks[1]["endpoints_online"] == ticks[1]["endpoints_total"] == 1


async def test_a_caller_in_the_line_is_told_by_model(served: Served) -> None:
    await served.scene.endpoint("a", slots=1)
    served.scene.on("a", hangs)
    request = await follow(served, b"types=LoadChanged")
    callers = [
        served.begin(served.request("POST", "/v1/chat/completions", chat())) for _ in range(3)
    ]
    await trio.sleep(1)
    assert request.messages[-1]["data"] == {
        "in_flight": {"id-a": 1},
        "waiting": {"tiny": 2},
        "total_in_flight": 1,
        "total_waiting": 2,
    }
    for caller in callers:
        caller.leave()
