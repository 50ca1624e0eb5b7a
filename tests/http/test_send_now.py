"""What is sent without waiting: that it arrives whole and in order, and what it costs."""

from __future__ import annotations

import json
import random
from typing import Any

import h11
import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from wsproto import WSConnection
from wsproto.connection import ConnectionType
from wsproto.events import Request, TextMessage

from llmlb.events import StorageUnwell
from llmlb.http.manage.following import KEEP_ALIVE_EVERY_S
from tests.fakes.served import Served
from tests.fakes.steps import counted_steps
from tests.fakes.wire import Client

OF_THE_FEED_AND_THE_TEST = 10
"""So many steps of tasks, at most, are of neither end of a connection."""

TYPES = "types=StorageUnwell"
GET = f"GET /api/dashboard/events?{TYPES} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
ROUTES = pytest.mark.parametrize("route", ["stream", "socket"])


class Follower:
    """One who follows on a socket, on either route."""

    def __init__(
        self, served: Served, nursery: trio.Nursery, route: str, *, most: int | None = None
    ) -> None:
        """*most* is what the socket takes at once; None: all, and 0: it has to be waited for."""
        rng = random.Random(most)
        self.asked: list[int] = []

        def takes(n_bytes: int) -> int:
            self.asked.append(n_bytes)
            return n_bytes if most is None else rng.randrange(most + 1)

        self.client = Client(served.app, nursery, takes=takes)
        self.route = route
        self._socket = WSConnection(ConnectionType.CLIENT)

    async def begin(self) -> None:
        target = f"/ws/dashboard?{TYPES}"
        asked = GET if self.route == "stream" else self._socket.send(Request("x", target))
        await self.client.send(asked)

    @property
    def told(self) -> list[dict[str, Any]]:
        """All that it has read, by the eyes of others."""
        received = bytes(self.client.received)
        if self.route == "socket":
            self._socket.receive_data(received)
            self.client.received.clear()
            said = [e.data for e in self._socket.events() if isinstance(e, TextMessage)]
            return [json.loads(text) for text in said]
        parser, body = h11.Connection(h11.CLIENT), b""
        parser.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
        parser.send(h11.EndOfMessage())
        parser.receive_data(received)
        while (event := parser.next_event()) is not h11.NEED_DATA:
            body += event.data if isinstance(event, h11.Data) else b""
        lines = body.decode().split("\n")
        return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]

    @property
    def reasons(self) -> list[str]:
        return [said["data"]["reason"] for said in self.told if said["type"] == "StorageUnwell"]


def tell(served: Served, reason: str) -> None:
    served.app.house.tell_event(StorageUnwell(reason))


@ROUTES
@pytest.mark.parametrize("most", [None, 0, 1, 150, 1000])
async def test_it_arrives_in_order_however_little_is_taken_at_once(
    served: Served, nursery: trio.Nursery, route: str, most: int | None
) -> None:
    follower = Follower(served, nursery, route, most=most)
    await follower.begin()
    for n in range(60):
        tell(served, f"{n} {'x' * (7 * n)}")
        if n % 3:
            await trio.lowlevel.checkpoint()
        if n == 30:
            await trio.sleep(KEEP_ALIVE_EVERY_S + 1)  # what is said in between waits its turn
    await wait_all_tasks_blocked()
    assert [int(reason.split()[0]) for reason in follower.reasons] == list(range(60))
    assert follower.asked
    await follower.client.leave()


@ROUTES
async def test_an_event_wakes_each_of_many_once_and_is_one_write_for_each(
    served: Served, nursery: trio.Nursery, route: str
) -> None:
    many = [Follower(served, nursery, route) for _ in range(50)]
    for follower in many:
        await follower.begin()
        follower.asked.clear()
    tell(served, "unlike any other")  # the first one makes what they share from then on
    await trio.sleep(1)
    with counted_steps() as steps:
        tell(served, "full")
        await wait_all_tasks_blocked()
    reading = len(many)  # in this process, too
    assert steps.count <= len(many) + reading + OF_THE_FEED_AND_THE_TEST
    assert {len(follower.asked) for follower in many} == {2}
    assert all(follower.reasons == ["unlike any other", "full"] for follower in many)
    for follower in many:
        await follower.client.leave()


async def test_a_burst_is_one_write(served: Served, nursery: trio.Nursery) -> None:
    follower = Follower(served, nursery, "socket")
    await follower.begin()
    for n in range(100):
        tell(served, str(n))
    await wait_all_tasks_blocked()
    assert len(follower.asked) == 1
    assert follower.reasons == [str(n) for n in range(100)]
    await follower.client.leave()


async def test_what_is_too_large_waits_its_turn(served: Served, nursery: trio.Nursery) -> None:
    follower = Follower(served, nursery, "stream")
    await follower.begin()
    for reason in ("x" * 100_000, "full"):
        tell(served, reason)
        await wait_all_tasks_blocked()
    assert [len(reason) for reason in follower.reasons] == [100_000, 4]
    assert len(follower.asked) == 1
    await follower.client.leave()


async def test_a_client_of_http_1_0_gets_no_chunks(served: Served, nursery: trio.Nursery) -> None:
    older = Follower(served, nursery, "stream", most=100)
    await older.client.send(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
    for reason in ("full", "slow"):
        tell(served, reason)
        await wait_all_tasks_blocked()
    _, _, body = bytes(older.client.received).partition(b"\r\n\r\n")
    assert [frame.count(b"\n") for frame in body.split(b"\n\n")] == [2, 1, 1, 0]
    assert len(older.asked) == 2
    await older.client.leave()


@ROUTES
async def test_nothing_is_sent_before_an_answer_has_begun_or_after_it_has_ended(
    served: Served, nursery: trio.Nursery, route: str
) -> None:
    follower = Follower(served, nursery, route)
    await wait_all_tasks_blocked()
    connection = follower.client.connection
    assert not connection.send_now(b"x")
    await follower.client.send(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
    assert not connection.send_now(b"x"), "the answer is over, and the next request is not here"
    await follower.client.leave()
    assert not connection.send_now(b"x")
    assert follower.asked == []
