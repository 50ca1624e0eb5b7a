"""A client that leaves during a cold load does not break off the load."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from llmlb.http.loads import LOOK_EVERY_S, MOST_LEFT
from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import Scene, url
from tests.fakes.openai import chat, completion, finish, role, says, wire
from tests.fakes.upstream import Answer, Handler, hangs, json_answer, refused, replies, sse_answer


async def ollama(scene: Scene, name: str = "a", *loaded: str, slots: int = 1) -> None:
    """An endpoint that loads its models on demand, with those *loaded* in memory."""
    scene.upstream.get(url(name), "/api/tags", {"models": []})
    has_in_memory(scene, name, *loaded)
    await scene.endpoint(name, "tiny", slots=slots)
    await scene.probed(scene.known(name))  # now that its engine is known
    await scene.settle()


def has_in_memory(scene: Scene, name: str, *models: str) -> None:
    scene.upstream.get(url(name), "/api/ps", {"models": [{"name": model} for model in models]})


@asynccontextmanager
async def client(scene: Scene, *, stream: bool = True) -> AsyncIterator[None]:
    """A client that asks, and leaves at the end of the block."""
    reply = FakeDownstream()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.ask, chat(stream=stream), reply)
        await scene.settle()
        yield
        reply.peer_gone = True
        nursery.cancel_scope.cancel()
    await scene.settle()
    assert not reply.begun


@pytest.mark.parametrize("stream", [True, False])
async def test_the_load_goes_on_until_the_model_is_in_memory(scene: Scene, stream: bool) -> None:
    await ollama(scene)
    scene.on("a", hangs)

    async with client(scene, stream=stream):
        await trio.sleep(3)
    assert len(scene.open_requests) == 1
    assert scene.leases == {"id-a": 1}, "the endpoint is busy with it"
    await trio.sleep(20)
    assert len(scene.open_requests) == 1

    has_in_memory(scene, "a", "tiny")
    await trio.sleep(2 * LOOK_EVERY_S)
    assert not scene.open_requests
    assert not scene.leases
    totals = scene.totals("a")
    assert (totals.total_requests, totals.cancelled_requests) == (1, 1)


async def test_it_ends_at_its_first_word(scene: Scene) -> None:
    await ollama(scene)
    scene.on("a", sse_answer(role(), 21.0, says("Hi"), 60.0, finish()))

    async with client(scene):
        await trio.sleep(3)
    await trio.sleep(17)
    assert len(scene.open_requests) == 1
    await trio.sleep(1.5)
    assert not scene.open_requests
    assert not scene.leases


@pytest.mark.parametrize("settings", [{"load_grace_s": 30.0}])
async def test_it_ends_when_its_time_is_over(scene: Scene) -> None:
    await ollama(scene)
    scene.on("a", hangs)

    async with client(scene):
        await trio.sleep(3)
    await trio.sleep(29)
    assert len(scene.open_requests) == 1
    await trio.sleep(1.5)
    assert not scene.open_requests
    assert not scene.leases


@pytest.mark.parametrize(
    ("settings", "loaded", "said"),
    [
        ({}, ["tiny"], hangs),
        ({"load_grace_s": 0.0}, [], hangs),
        ({}, [], sse_answer(says("Hi"), 60.0, finish())),
    ],
    ids=["in memory", "switched off", "answering"],
)
async def test_any_other_call_is_closed_at_once(
    scene: Scene, loaded: list[str], said: Handler | Answer
) -> None:
    await ollama(scene, "a", *loaded)
    scene.on("a", said)
    reply = FakeDownstream()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.stream, reply)
        await trio.sleep(3)
        assert scene.leases == {"id-a": 1}
        reply.peer_gone = True
        nursery.cancel_scope.cancel()
    await scene.settle()

    assert not scene.open_requests
    assert not scene.leases


async def test_a_client_that_stays_gets_its_answer(scene: Scene) -> None:
    await ollama(scene)
    scene.on("a", sse_answer(20.0, says("Hi"), finish()))
    assert (await scene.stream()).body == wire(says("Hi"), finish())

    scene.on("a", replies(json_answer(completion()), after_s=20))
    assert (await scene.ask()).json == completion()
    await scene.settle()
    assert scene.totals("a").successful_requests == 2
    assert not scene.leases


async def test_a_load_that_fails_goes_elsewhere(scene: Scene) -> None:
    await ollama(scene)
    await scene.endpoint("b", "tiny")
    scene.on("a", replies(refused(), after_s=5))
    scene.on("b", json_answer(completion()))

    reply = await scene.ask()
    await scene.settle()

    assert reply.headers["x-llmlb-endpoint"] == "b"
    assert not scene.leases


async def test_a_load_without_a_client_may_fail_too(scene: Scene) -> None:
    await ollama(scene)
    scene.on("a", replies(refused(), after_s=10))

    async with client(scene):
        await trio.sleep(3)
    await trio.sleep(10)

    assert not scene.leases
    assert (await scene.ask()).status == 502


async def test_after_a_load_the_endpoint_is_asked_what_it_has(scene: Scene) -> None:
    await ollama(scene)
    scene.on("a", sse_answer(20.0, says("Hi"), finish()))
    has_in_memory(scene, "a")
    assert scene.known("a").would_load("tiny")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.stream)
        await trio.sleep(19)
        has_in_memory(scene, "a", "tiny")
    await trio.sleep(1)

    assert not scene.known("a").would_load("tiny")


async def test_only_so_many_go_on(scene: Scene) -> None:
    await ollama(scene, slots=MOST_LEFT + 3)
    scene.on("a", hangs)

    for n in range(MOST_LEFT + 3):
        async with client(scene):
            await trio.sleep(0.01)
        assert len(scene.open_requests) == min(n + 1, MOST_LEFT)
    assert scene.leases == {"id-a": MOST_LEFT}


@pytest.mark.parametrize("ending", ["drained", "closed", "removed"])
async def test_nothing_outlasts_what_it_is_for(scene: Scene, ending: str) -> None:
    await ollama(scene)
    scene.on("a", hangs)
    async with client(scene):
        await trio.sleep(3)
    match ending:
        case "drained":
            await scene.house.drain()
        case "closed":
            scene.house.close()
        case "removed":
            await scene.house.registry.remove(scene.known("a").id)
            await trio.sleep(LOOK_EVERY_S)
    await scene.settle()
    assert not scene.open_requests
    assert trio.current_time() <= 3 + 2 * LOOK_EVERY_S


async def test_a_house_that_closes_ends_a_load_that_has_its_client(scene: Scene) -> None:
    await ollama(scene)
    scene.on("a", hangs)
    reply = FakeDownstream()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.ask, None, reply)
        await trio.sleep(3)
        scene.house.close()
    assert (reply.status, reply.error["code"]) == (503, "shutting_down")
    assert not scene.open_requests


async def test_the_drain_cuts_a_load_off_like_any_call(scene: Scene) -> None:
    await ollama(scene)
    scene.on("a", hangs)
    reply = FakeDownstream()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.ask, None, reply)
        await trio.sleep(3)
        scene.exchange.cut_off.now()
    assert (reply.status, reply.error["code"]) == (503, "shutting_down")
