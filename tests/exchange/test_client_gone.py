"""A client that leaves: everything held for it is given back in the same instant."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from llmlb.accounting import Totals
from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import Scene
from tests.fakes.openai import chat, completion, finish, role, says
from tests.fakes.upstream import (
    Answer,
    Handler,
    hangs,
    json_answer,
    refused,
    replies,
    sse_answer,
)


@asynccontextmanager
async def client(
    scene: Scene, body: bytes, downstream: FakeDownstream | None = None
) -> AsyncIterator[Callable[[], None]]:
    """A client that asks until the end of the block, or until it leaves."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.ask, body, downstream)
        await scene.settle()
        yield nursery.cancel_scope.cancel
        nursery.cancel_scope.cancel()


def nothing_is_held(scene: Scene) -> None:
    assert not scene.leases
    assert not scene.waiting
    assert not scene.open_requests


PHASES: dict[str, tuple[bool, Handler | Answer, float]] = {
    "connecting": (True, hangs, 3),
    "connecting, plain": (False, hangs, 3),
    "prefilling": (True, sse_answer(60.0, says("late")), 3),
    "prefilling after the role": (True, sse_answer(role(), 60.0, says("late")), 3),
    "streaming": (True, sse_answer(says("A"), 60.0, says("B"), finish()), 3),
    "reading a plain answer": (False, Answer(200, {}, [b"{", 60.0]), 3),
    "reading an error": (False, Answer(500, {}, [b"{", 60.0]), 3),
    "reading a large answer": (False, Answer(200, {}, [b"x" * 9_000_000, 60.0]), 3),
}


@pytest.mark.parametrize("phase", PHASES)
async def test_a_client_that_leaves_closes_its_upstream_call_at_once(
    scene: Scene, phase: str
) -> None:
    streamed, answer, left_at_s = PHASES[phase]
    await scene.endpoint("a", slots=1)
    await scene.endpoint("b", slots=1)
    scene.on("a", answer)
    reply = FakeDownstream()

    async with client(scene, chat(stream=streamed), reply) as leave:
        await trio.sleep(left_at_s)
        assert scene.leases == {"id-a": 1}
        leave()

    [call] = scene.requests()
    assert call.closed_at == pytest.approx(left_at_s)
    assert call.cancelled
    await scene.settle()
    assert trio.current_time() == pytest.approx(left_at_s)
    nothing_is_held(scene)
    assert not scene.requests("b")
    assert scene.totals("a").cancelled_requests == scene.totals("a").total_requests == 1
    assert scene.latency_ms("a") is None
    assert not reply.aborted, "nobody is left to see it"


async def test_a_cancelled_request_leaves_the_latency_as_it_was(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", replies(json_answer(completion()), after_s=2))
    await scene.ask()
    await scene.settle()
    standing = scene.standing("a")

    async with client(scene, chat()) as leave:
        await trio.sleep(1)
        leave()
    await scene.settle()

    assert scene.latency_ms("a") == 2000
    assert scene.standing("a") == standing


async def test_a_client_that_leaves_the_line_gives_up_its_place(scene: Scene) -> None:
    await scene.endpoint("a", slots=1)
    scene.on("a", replies(json_answer(completion()), after_s=10))

    async with client(scene, chat()):
        async with client(scene, chat()) as leave:
            assert scene.waiting == {"tiny": 1}
            leave()
        assert not scene.waiting
        assert trio.current_time() == 0
        await trio.sleep(30)

    assert len(scene.requests()) == 1
    assert scene.totals("a") == Totals(1, 1, total_duration_ms=10_000)


async def test_a_slot_that_a_leaving_client_gives_back_is_the_next_ones(scene: Scene) -> None:
    await scene.endpoint("a", slots=1)
    scene.on("a", sse_answer(says("A"), 60.0, finish()))

    async with client(scene, chat(stream=True)) as leave, client(scene, chat(stream=True)):
        await trio.sleep(3)
        leave()
        await scene.settle()
        first, second = scene.requests()
        assert first.closed_at == second.opened_at == 3


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
async def test_a_face_that_finds_the_client_gone_ends_the_exchange(scene: Scene, turn: int) -> None:
    await scene.endpoint("a", slots=1)
    scene.on("a", sse_answer(role(), says("A"), 1.0, says("B"), 60.0, finish()))
    reply = FakeDownstream(leaves_at=turn)

    await scene.stream(reply)
    await scene.settle()

    assert trio.current_time() <= 61
    nothing_is_held(scene)
    assert scene.totals("a").cancelled_requests == 1
    assert not reply.aborted


@pytest.mark.parametrize("turn", [0, 1])
async def test_a_plain_client_may_be_gone_when_its_answer_comes(scene: Scene, turn: int) -> None:
    await scene.endpoint("a", slots=1)
    scene.on("a", json_answer(completion()))

    await scene.ask(None, FakeDownstream(leaves_at=turn))
    await scene.settle()

    nothing_is_held(scene)
    assert scene.totals("a").cancelled_requests == 1


@pytest.mark.parametrize("turn", [0, 1])
async def test_a_client_may_be_gone_when_its_error_comes(scene: Scene, turn: int) -> None:
    reply = await scene.ask(chat("unknown"), FakeDownstream(leaves_at=turn))

    assert reply.peer_gone


async def test_a_client_that_leaves_between_two_attempts_stops_them(scene: Scene) -> None:
    await scene.endpoint("a", slots=1)
    await scene.endpoint("b", slots=1)
    scene.on("a", replies(refused(), after_s=2))
    scene.on("b", hangs)

    async with client(scene, chat()), client(scene, chat()) as leave:
        # The first is on a and goes on to b when the second, on b, has left.
        await trio.sleep(5)
        assert scene.waiting == {"tiny": 1} or len(scene.requests("b")) == 1
        leave()
    await scene.settle()

    nothing_is_held(scene)


async def test_a_client_that_is_stuck_and_leaves_holds_nothing(scene: Scene) -> None:
    await scene.endpoint("a", slots=1)
    scene.on("a", sse_answer(says("A"), finish()))

    async with client(scene, chat(stream=True), FakeDownstream(stuck_at=1)) as leave:
        await trio.sleep(5)
        assert scene.leases
        leave()
    await scene.settle()

    nothing_is_held(scene)
    assert scene.requests()[0].closed_at == 5
