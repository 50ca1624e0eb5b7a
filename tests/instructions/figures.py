"""The work whose instructions are counted: a stream's chunks, and plain requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import trio
import trio.testing

from tests.fakes.accounts import bearer, key, moved_in, user
from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import Scene, scene_in
from tests.fakes.openai import chat, completion, counted, finish, role, says
from tests.fakes.upstream import json_answer, sse_answer
from tests.instructions.counting import Counter, counting
from tests.simulation.repeatable import repeatable

FEW, MANY = 20, 520
"""Chunks of two streams: what differs is what 500 of them take."""
REQUESTS = 20

Figures = dict[str, float]
"""Instructions, by `chunk` and `request`."""


def measure(directory: Path) -> Figures:
    """Count both, in virtual time. The same code gives the same figures."""
    with repeatable("instructions"):
        return trio.run(_measure, directory, clock=trio.testing.MockClock(autojump_threshold=0))


async def _measure(directory: Path) -> Figures:
    async with scene_in(directory) as scene:
        await moved_in(scene.house, user(), key())
        await scene.endpoint("a", slots=4)
        return {"chunk": await _of_a_chunk(scene), "request": await _of_a_request(scene)}


async def _of_a_chunk(scene: Scene) -> float:
    async def stream(chunks: int) -> None:
        scene.on("a", sse_answer(role(), *[says("word ")] * chunks, finish()))
        reply = await _asked(scene, chat(stream=True))
        assert reply.body.count(b"word ") == chunks
        assert reply.body.endswith(b"data: [DONE]\n\n")

    await stream(FEW)  # what happens once has happened
    few = await _instructions(lambda: stream(FEW))
    many = await _instructions(lambda: stream(MANY))
    return round((many - few) / (MANY - FEW), 1)


async def _of_a_request(scene: Scene) -> float:
    scene.on("a", json_answer(completion("Hello.", usage=counted())))

    async def requests() -> None:
        for _ in range(REQUESTS):
            reply = await _asked(scene, chat())
            assert reply.status == 200
        await scene.settle()  # what was told belongs to the price

    await requests()
    return round(await _instructions(requests) / REQUESTS, 1)


async def _asked(scene: Scene, body: bytes) -> FakeDownstream:
    """The answer to *body*, asked for with a key."""
    return await scene.ask(body, headers=bearer("laptop"))


async def _instructions(work: Callable[[], Awaitable[None]]) -> int:
    await trio.testing.wait_all_tasks_blocked()  # nothing else is under way
    counter = Counter()
    with counting(counter):
        await work()
    return counter.count
