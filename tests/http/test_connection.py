"""Connections of `llmlb serve`: how long a client may take, and what becomes of one that leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from llmlb.http.lane.clock import LOOK_EVERY_S
from llmlb.http.wire.connection import GOODBYE_S, READ_BYTES, WRITTEN_BYTES
from llmlb.http.wire.http1 import AHEAD_LIMIT_BYTES
from tests.fakes.openai import chat, completion
from tests.fakes.served import Served
from tests.fakes.upstream import Answer, hangs, json_answer, replies
from tests.fakes.wire import LIMITS, Client

HEALTH = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture(params=["wire", "lane"], autouse=True)
def face(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a connection begins on."""
    monkeypatch.setattr(Client, "by_lane", request.param == "lane")
    return str(request.param)


def post(body: bytes, path: str = "/v1/chat/completions", more: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\n{more}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def nothing_is_held(served: Served) -> None:
    assert not served.scene.leases
    assert not served.scene.waiting
    assert not served.scene.open_requests
    assert served.app.body_budget.held_bytes == 0


# -- heads


async def test_a_head_that_trickles_is_answered_408(served: Served, nursery: trio.Nursery) -> None:
    client = Client(served.app, nursery)
    await trio.sleep(5)
    for byte in HEALTH[:9]:
        await client.send(bytes([byte]))
        await trio.sleep(1)
    assert not client.received
    await trio.sleep(2)

    [answer] = client.answers()
    assert (answer.status, answer.error["code"]) == (408, "request_timeout")
    assert answer.headers["connection"] == "close"
    assert client.closed_at_s == 5 + LIMITS.header_s


async def test_a_connection_without_a_request_is_closed(
    served: Served, nursery: trio.Nursery
) -> None:
    client = Client(served.app, nursery)

    await client.over.wait()

    assert client.closed_at_s == LIMITS.header_s
    assert not client.received


async def test_an_idle_connection_is_closed(served: Served, nursery: trio.Nursery) -> None:
    client = Client(served.app, nursery)
    await client.send(HEALTH)
    await trio.sleep(LIMITS.idle_s - 1)
    await client.send(HEALTH)

    await client.over.wait()

    assert [answer.status for answer in client.answers()] == [200, 200]
    assert client.closed_at_s == 2 * LIMITS.idle_s - 1


async def test_the_next_head_has_its_time_too(served: Served, nursery: trio.Nursery) -> None:
    client = Client(served.app, nursery)
    await client.send(HEALTH + HEALTH[:5])  # some of the next one has come with it
    await trio.sleep(LIMITS.header_s + 1)
    late = Client(served.app, nursery)
    await late.send(HEALTH)
    await trio.sleep(LIMITS.idle_s - 1)
    await late.send(HEALTH[:5])
    await trio.sleep(LIMITS.header_s + 1)

    assert [answer.status for answer in client.answers()] == [200, 408]
    assert client.closed_at_s == LIMITS.header_s
    assert [answer.status for answer in late.answers()] == [200, 408]
    assert late.closed_at_s == LIMITS.header_s + 1 + LIMITS.idle_s - 1 + LIMITS.header_s


async def test_an_answer_may_take_longer_than_any_head(
    served: Served, nursery: trio.Nursery
) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", replies(json_answer(completion()), after_s=100))
    client = Client(served.app, nursery)
    await client.send(post(chat()))
    await trio.sleep(101)

    assert [answer.status for answer in client.answers("POST")] == [200]


# -- bodies


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/endpoints"])
async def test_a_body_that_trickles_is_answered_408(
    served: Served, nursery: trio.Nursery, path: str
) -> None:
    client = Client(served.app, nursery)
    await client.send(post(b"x" * 100_000, path)[:-99_990])
    started_s = trio.current_time()
    with trio.move_on_after(100) as patience:
        while not client.received:
            await client.send(b"x")
            await trio.sleep(1)
    assert not patience.cancelled_caught
    await client.over.wait()

    [answer] = client.answers("POST")
    assert answer.status == 408
    assert b"too slowly" in answer.body
    assert answer.headers["connection"] == "close"
    limit_s = served.app.reception.progress_timeout_s
    assert limit_s <= trio.current_time() - started_s <= limit_s + 10
    nothing_is_held(served)


async def test_a_slow_body_that_makes_progress_is_waited_for(
    served: Served, nursery: trio.Nursery
) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", json_answer(completion()))
    client = Client(served.app, nursery)
    request = post(chat(user="x" * 5000))
    for at in range(0, len(request), 1024):
        await client.send(request[at : at + 1024])
        await trio.sleep(29)
    await trio.testing.wait_all_tasks_blocked()

    assert [answer.status for answer in client.answers("POST")] == [200]


# -- clients that do not read


async def endless(sent: list[int]) -> AsyncIterator[bytes]:
    """A stream that never ends, which notes how much of it has been taken."""
    event = b'data: {"choices": [{"index": 0, "delta": {"content": "%s"}}]}\n\n' % (b"x" * 16_000)
    while True:
        await trio.lowlevel.checkpoint()
        sent.append(len(event))
        yield event


async def test_a_client_that_does_not_read_is_cut_off(
    served: Served, nursery: trio.Nursery, face: str
) -> None:
    sent: list[int] = []
    await served.scene.endpoint("a")
    served.scene.on("a", Answer(200, {"content-type": "text/event-stream"}, endless(sent)))
    client = Client(served.app, nursery, reads=False)
    await client.send(post(chat(stream=True)))
    await trio.sleep(LIMITS.write_s - 1)
    assert served.scene.leases
    assert sum(sent) < 256 * 1024, "the endpoint is held back"
    await client.over.wait()

    late_s = trio.current_time() - LIMITS.write_s
    assert 0 <= late_s <= (LOOK_EVERY_S if face == "lane" else 0)
    assert sum(sent) < 256 * 1024
    await trio.testing.wait_all_tasks_blocked()
    nothing_is_held(served)
    [call] = served.scene.requests()
    assert call.closed_at == LIMITS.write_s + late_s
    assert served.scene.totals("a").cancelled_requests == 1


async def test_a_client_that_reads_slowly_gets_its_whole_answer(
    served: Served, nursery: trio.Nursery
) -> None:
    whole = json_answer(completion("x" * 1_000_000))
    await served.scene.endpoint("a")
    served.scene.on("a", whole)
    client = Client(served.app, nursery, reads=False)
    await client.send(post(chat()))
    while not client.received.endswith(b"}"):
        await trio.sleep(LIMITS.write_s - 1)
        taken = 0
        while taken < WRITTEN_BYTES and not client.received.endswith(b"}"):
            data = await client.stream.receive_some(WRITTEN_BYTES - taken)
            taken += len(data)
            client.received += data

    await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() > 10 * LIMITS.write_s
    assert len(client.received) > 1_000_000
    assert served.scene.totals("a").successful_requests == 1


# -- clients that leave


@pytest.mark.parametrize("ahead", [b"", HEALTH, b"garbage\x00" * 100])
async def test_a_client_that_leaves_is_noticed_whatever_it_has_sent_ahead(
    served: Served, nursery: trio.Nursery, ahead: bytes
) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", hangs)
    client = Client(served.app, nursery)
    await client.send(post(chat()) + ahead)
    await trio.sleep(5)
    assert served.scene.leases

    await client.leave()

    assert client.over.is_set()
    nothing_is_held(served)
    [call] = served.scene.requests()
    assert call.closed_at == 5
    assert served.scene.totals("a").cancelled_requests == 1


async def test_no_more_is_read_than_is_kept_of_requests_sent_ahead(
    served: Served, nursery: trio.Nursery
) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", replies(json_answer(completion()), after_s=8))
    client = Client(served.app, nursery, reads=False)
    next_one = post(b"x" * 1_000_000, "/nowhere")
    sent = 0

    async def send_ahead() -> None:
        nonlocal sent
        for at in range(0, len(next_one), 1000):
            await client.stream.send_all(next_one[at : at + 1000])
            sent += 1000
        all_sent.set()

    all_sent = trio.Event()
    await client.send(post(chat()))
    nursery.start_soon(send_ahead)
    await trio.sleep(7)
    assert AHEAD_LIMIT_BYTES <= sent <= AHEAD_LIMIT_BYTES + READ_BYTES
    while b"There is no route" not in client.received:
        client.received += await client.stream.receive_some(65536)

    assert client.received.startswith(b"HTTP/1.1 200")
    assert client.received.count(b"HTTP/1.1 404") == 1
    await all_sent.wait()
    await client.leave()


# -- several requests, and the last one


async def test_requests_that_are_sent_at_once_are_answered_in_order(
    served: Served, nursery: trio.Nursery
) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", replies(json_answer(completion()), after_s=2))
    client = Client(served.app, nursery)
    await client.send(post(chat()) + HEALTH + post(b"{}", "/nowhere") + post(chat()))
    await trio.sleep(5)

    answers = client.answers("POST", "GET", "POST", "POST")
    assert [answer.status for answer in answers] == [200, 200, 404, 200]
    assert len(served.scene.requests()) == 2


async def test_what_is_refused_ends_its_connection(served: Served, nursery: trio.Nursery) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", json_answer(completion()))
    client = Client(served.app, nursery)
    await client.send(post(chat()) + b"garbage\r\n\r\n" + HEALTH)

    answers = client.answers("POST")
    assert [answer.status for answer in answers] == [200, 400]
    assert client.closed_at_s == 0
    for _ in range(50):
        await client.send(HEALTH)
    await client.over.wait()
    assert trio.current_time() == GOODBYE_S
    assert len(client.answers("POST")) == 2


async def test_what_comes_behind_the_last_request_is_passed_over(
    served: Served, nursery: trio.Nursery
) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", replies(json_answer(completion()), after_s=2))
    client = Client(served.app, nursery)
    await client.send(post(chat(), more="connection: close\r\n") + HEALTH + b"garbage")
    await trio.sleep(3)

    assert [answer.status for answer in client.answers("POST")] == [200]
    assert client.closed_at_s == 2


async def test_a_client_that_ends_in_the_middle_of_its_body(
    served: Served, nursery: trio.Nursery
) -> None:
    client = Client(served.app, nursery)
    await client.send(post(chat())[:-5])
    await client.stream.send_eof()
    await client.over.wait()

    assert [answer.status for answer in client.answers("POST")] == [400]
    nothing_is_held(served)


async def test_a_body_is_asked_for_that_waits_to_be(served: Served, nursery: trio.Nursery) -> None:
    request = post(b"{}", "/nowhere", "expect: 100-continue\r\n")
    client = Client(served.app, nursery)
    await client.send(request[:-2])
    assert client.received.startswith(b"HTTP/1.1 100")
    await client.send(request[-2:])

    assert [answer.status for answer in client.answers("POST")] == [404]


async def test_at_a_stop_idle_connections_end_at_once_and_others_with_their_answer(
    served: Served, nursery: trio.Nursery
) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", replies(json_answer(completion()), after_s=5))
    busy, idle, begun = (Client(served.app, nursery) for _ in range(3))
    await busy.send(post(chat()))
    await idle.send(HEALTH)
    await begun.send(HEALTH[:5])
    await trio.sleep(1)
    for client in (busy, idle, begun):
        await client.context.terminated.set()
    await trio.sleep(5)

    assert (busy.closed_at_s, idle.closed_at_s, begun.closed_at_s) == (5, 1, 1)
    assert [answer.status for answer in busy.answers("POST")] == [200]
    assert not begun.received


async def test_the_next_head_may_come_in_the_moment_in_which_an_answer_ends(
    served: Served, nursery: trio.Nursery
) -> None:
    client = Client(served.app, nursery)
    path = "/api/auth/login"  # none of the lane's: what comes behind it is handed back
    head, _, _ = post(b"{}", path).partition(b"{}")
    rounds = 30
    await client.send(head)
    for number in range(1, rounds + 1):
        await client.stream.send_all(b"{}")
        for _ in range(1_000):  # whoever waits until all is at rest is too late
            if client.received.count(b"HTTP/1.1 ") == number:
                break
            await trio.lowlevel.checkpoint()
        for _ in range(number % 6):
            await trio.lowlevel.checkpoint()
        await client.stream.send_all(head)
        await trio.testing.wait_all_tasks_blocked()

    assert client.received.count(b"HTTP/1.1 ") == rounds
    assert client.received.count(b"HTTP/1.1 408") == 0
