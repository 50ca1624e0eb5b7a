"""What endpoints do to the connection under an answer, and what becomes of the next request."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from llmlb.errors import InternalError, Overloaded
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.http.upstream.pool import KEEPALIVE_S
from llmlb.http.upstream.pooled_client import SWEEP_EVERY_S, PooledUpstreamClient
from llmlb.types import Endpoint
from tests.fakes.network import MemoryNetwork, ServerSide
from tests.fakes.upstream import make_endpoint

A = make_endpoint("http://a.test:1")
MIB = 1024 * 1024


class Net:
    """A client on a network in memory that hides nothing."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.network = MemoryNetwork(nursery, self._echo)
        self.network.surprising = False
        self.client = PooledUpstreamClient(
            instance_id="lb-1", connect_timeout_s=5, network=self.network
        )

    async def _echo(self, side: ServerSide) -> None:
        while request := await side.request():
            await side.reply(request.partition(b"\r\n\r\n")[2])

    async def ask(self, body: object = b"hello", endpoint: Endpoint = A) -> tuple[int, bytes]:
        async with self.client.call(endpoint, "POST", "/x", body=body) as answer:  # type: ignore[arg-type]
            return answer.status, b"".join([chunk async for chunk in answer.chunks()])

    def statistics(self) -> tuple[int, ...]:
        return tuple(self.client.statistics()[A.id])


@pytest.fixture
async def net(nursery: trio.Nursery) -> AsyncIterator[Net]:
    net = Net(nursery)
    yield net
    await net.client.aclose()
    await trio.testing.wait_all_tasks_blocked()
    nursery.cancel_scope.cancel()


# --- connections that are kept


async def test_how_it_is_with_the_connections_is_told(net: Net) -> None:
    assert net.client.statistics() == {}
    async with net.client.call(A, "GET", "/x") as answer:
        assert net.statistics() == (0, 1, 1, 0, 0)
        assert [chunk async for chunk in answer.chunks()] == []
    assert net.statistics() == (1, 0, 1, 0, 0)
    await net.ask()
    assert net.statistics() == (1, 0, 1, 1, 0)
    await net.client.forget(A.id)
    assert net.client.statistics() == {}


async def test_of_the_idle_connections_the_one_used_last_is_used_next(
    net: Net, autojump_clock: MockClock
) -> None:
    async with (
        net.client.call(A, "POST", "/x", body=b"1") as first,
        net.client.call(A, "POST", "/x", body=b"2") as second,
    ):
        for answer in (first, second):
            assert [chunk async for chunk in answer.chunks()]
    for _ in range(10):
        await net.ask()
    assert sorted(len(side.requests) for side in net.network.connections) == [1, 11]


async def test_what_is_idle_for_too_long_is_closed_by_one_sweep_and_not_used_before_it(
    net: Net, autojump_clock: MockClock
) -> None:
    await net.ask()
    await trio.sleep(KEEPALIVE_S - 0.01)
    await net.ask()
    assert len(net.network.connections) == 1
    await trio.sleep(KEEPALIVE_S)
    await net.ask()
    assert len(net.network.connections) == 2
    await trio.sleep(KEEPALIVE_S + SWEEP_EVERY_S)
    assert all(side.closed_at is not None for side in net.network.connections)
    assert net.statistics()[:2] == (0, 0)
    await net.ask()  # and the sweep begins anew
    await trio.sleep(KEEPALIVE_S + SWEEP_EVERY_S)
    assert net.statistics()[:2] == (0, 0)


async def test_a_connection_that_was_closed_meanwhile_is_not_tried(net: Net) -> None:
    await net.ask()
    await net.network.connections[0].hang_up()
    await trio.testing.wait_all_tasks_blocked()
    assert await net.ask() == (200, b"hello")
    assert net.statistics() == (1, 0, 2, 0, 0)


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    "poison",
    [b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison", b"HTTP/1.1 200 ", b"x"],
)
async def test_bytes_that_nobody_asked_for_never_become_the_next_answer(
    net: Net, poison: bytes, at_once: bool
) -> None:
    async def poisoning(side: ServerSide) -> None:
        await side.request()
        answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood"
        await (side.send(answer + poison) if at_once else side.send(answer, poison))
        while await side.request():
            await side.reply(b"good")

    net.network.serve = poisoning
    for _ in range(3):
        assert await net.ask() == (200, b"good")
        await trio.testing.wait_all_tasks_blocked()
    assert len(net.network.connections) == 3


async def test_an_answer_that_was_left_says_nothing_of_the_next_one(net: Net) -> None:
    async with net.client.call(A, "POST", "/x", body=b"1") as answer:
        body = answer.chunks()
        assert [chunk async for chunk in body] == [b"1"]
    async with net.client.call(A, "POST", "/x", body=b"2"):
        with pytest.raises(UpstreamFault):
            await anext(body)


async def test_interim_answers_are_passed_over_but_not_for_ever(net: Net) -> None:
    async def interim(side: ServerSide) -> None:
        await side.request()
        await side.send(b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" * 3)
        await side.reply(b"[]")
        await side.request()
        while True:
            await side.send(b"HTTP/1.1 102 Processing\r\n\r\n")

    net.network.serve = interim
    async with net.client.call(A, "GET", "/x") as answer:
        assert (answer.status, "link" in answer.headers) == (200, False)
        assert [chunk async for chunk in answer.chunks()] == [b"[]"]
    with pytest.raises(UpstreamFault) as caught:
        await net.ask()
    assert caught.value.kind is FaultKind.BAD_ANSWER


async def test_an_endpoint_that_says_more_than_is_read_fills_no_memory(
    net: Net, autojump_clock: MockClock
) -> None:
    sent = 0

    async def endless(side: ServerSide) -> None:
        nonlocal sent
        await side.request()
        await side.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await side.send(b"x" * 65536)
            sent += 65536

    net.network.serve = endless
    net.network.in_step = True
    tracemalloc.start()
    async with net.client.call(A, "GET", "/x") as answer:
        body = answer.chunks()
        for _ in range(5):
            assert len(await anext(body)) <= 65536
            await trio.sleep(10)
        before = sent
        await trio.sleep(100)
        assert sent == before
        assert tracemalloc.get_traced_memory()[0] < MIB
    tracemalloc.stop()


# --- bodies on their way


class Pieces:
    """A payload of so many pieces, of a KiB each; it knows how many were taken."""

    def __init__(self, n_pieces: int, promised_bytes: int | None = None) -> None:
        self.n_pieces = n_pieces
        self.size_bytes = n_pieces * 1024 if promised_bytes is None else promised_bytes
        self.taken = self.closed = 0

    async def chunks(self) -> AsyncGenerator[bytes]:
        try:
            for _ in range(self.n_pieces):
                self.taken += 1
                yield b"x" * 1024
        finally:
            self.closed += 1


@pytest.mark.parametrize("body", [b"y" * 5 * MIB, Pieces(500)])
async def test_a_long_body_arrives_whole_and_its_connection_is_used_again(
    net: Net, body: bytes | Pieces
) -> None:
    for _ in range(2):
        status, echoed = await net.ask(body)
        assert (status, len(echoed)) == (200, len(body) if isinstance(body, bytes) else 500 * 1024)
    assert net.statistics()[2:4] == (1, 1)


async def test_a_body_is_taken_as_fast_as_the_endpoint_reads_it(
    net: Net, autojump_clock: MockClock
) -> None:
    async def slow(side: ServerSide) -> None:
        for _ in range(5):
            await trio.sleep(1)
            await side.stream.receive_some(1024)
        await trio.sleep_forever()

    net.network.serve = slow
    net.network.in_step = True
    body = Pieces(1000)
    with trio.move_on_after(10):
        await net.ask(body)
    assert body.taken < 10
    assert body.closed == 1
    assert net.network.connections[0].closed_at is not None


@pytest.mark.parametrize("then", ["hangs up", "stays"])
@pytest.mark.parametrize("long", [b"y" * 5 * MIB, Pieces(5000)])
async def test_a_refusal_that_comes_early_is_told_at_once(
    net: Net, autojump_clock: MockClock, long: bytes | Pieces, then: str
) -> None:
    async def refusing(side: ServerSide) -> None:
        await side.stream.receive_some(1024)
        await side.reply(b"too large", b"413 Content Too Large")
        if then == "hangs up":
            await side.hang_up()
        await trio.sleep_forever()

    net.network.serve = refusing
    net.network.in_step = True
    started_s = trio.current_time()
    with trio.fail_after(60):
        assert await net.ask(long) == (413, b"too large")
    assert trio.current_time() == started_s
    assert net.statistics()[:2] == (0, 0), "half a request is on that connection"


async def test_a_good_answer_that_begins_early_does_not_end_the_body(net: Net) -> None:
    async def eager(side: ServerSide) -> None:
        while True:
            first = await side.stream.receive_some(1024)
            if not first:
                return
            await side.send(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n")
            side.received += bytes(first)
            await side.request()
            await side.send(b"end")

    net.network.serve = eager
    body = Pieces(500)
    for _ in range(2):
        assert await net.ask(body) == (200, b"end")
    assert body.taken == 1000
    assert net.statistics()[2] == 1


async def test_an_endpoint_that_closes_half_way_is_disconnected(net: Net) -> None:
    async def closing(side: ServerSide) -> None:
        await side.stream.receive_some(1024)
        await side.hang_up()

    net.network.serve = closing
    net.network.in_step = True
    for body in (b"y" * 5 * MIB, Pieces(500)):
        with pytest.raises(UpstreamFault) as caught:
            await net.ask(body)
        assert caught.value.kind is FaultKind.DISCONNECTED


async def test_a_long_body_on_a_stale_connection_is_sent_again_from_its_beginning(
    net: Net,
) -> None:
    async def once(side: ServerSide) -> None:
        await side.request()
        await side.reply(b"[]")
        await side.stream.receive_some(1024)
        await side.hang_up()

    net.network.serve = once
    net.network.surprising = True
    await net.ask()
    net.network.serve = net._echo
    body = Pieces(500)
    status, echoed = await net.ask(body)
    assert (status, len(echoed)) == (200, 500 * 1024)
    assert body.closed == 2
    assert net.statistics() == (1, 0, 2, 1, 1)


class Failing(Pieces):
    async def chunks(self) -> AsyncGenerator[bytes]:
        yield b"x" * 1024
        raise Overloaded("The disk is full.", retry_after_s=1)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (Failing(3), Overloaded),
        (Pieces(3, promised_bytes=5000), InternalError),
        (Pieces(3, promised_bytes=2000), InternalError),
        (Pieces(1, promised_bytes=0), InternalError),
    ],
)
async def test_a_body_that_is_not_what_it_promised_is_an_error_of_ours(
    net: Net, body: Pieces, error: type[Exception]
) -> None:
    async def patient(side: ServerSide) -> None:
        while await side.stream.receive_some(1024):
            pass

    net.network.serve = patient
    with pytest.raises(error):
        await net.ask(body)
    await trio.testing.wait_all_tasks_blocked()
    assert net.network.connections[0].closed_at is not None
    assert repr(net.client) == "<PooledUpstreamClient: 1 endpoints, 0 calls>"
