"""Clients that leave at random moments, over many seeds: nothing is lost, nothing is held twice."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from llmlb.accounting import Totals
from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import Scene, scene_in
from tests.fakes.openai import DONE, chat, completion, finish, role, says
from tests.fakes.upstream import (
    Answer,
    SeenCall,
    disconnected,
    json_answer,
    refused,
    sse_answer,
)

pytestmark = pytest.mark.simulation

SEEDS_PER_TEST = 75
ENDPOINTS = {"a": 1, "b": 2, "c": 1}
CLIENTS = 12


def moody(rng: random.Random, scene: Scene) -> object:
    """A handler that may do anything an endpoint does, well or badly."""

    async def handle(call: SeenCall) -> Answer:
        await trio.sleep(rng.choice([0, 0, 0.5, 1, 3]))
        streamed = call.json.get("stream")
        whims = ["good"] * 12 + ["refused", "reset", "503", "500", "429", "empty", "late"]
        match rng.choice(whims):
            case "refused":
                raise refused()
            case "reset":
                raise disconnected()
            case "503" | "500" | "429" as status:
                return json_answer({"error": {"message": "no"}}, int(status))
            case "empty":
                return sse_answer(role(), done=False) if streamed else Answer(200)
            case "late" if streamed:
                return sse_answer(role(), 1, says("A"), 1, disconnected())
        if not streamed:
            return json_answer(completion(usage={"prompt_tokens": 1, "completion_tokens": 2}))
        gap = rng.choice([0, 0.5, 2])
        linger = rng.choice([0, 0.5, 5])
        words = (x for _ in range(rng.randrange(1, 6)) for x in (gap, says("A")))
        return sse_answer(role(), *words, finish(), DONE, linger, done=False)

    return handle


async def one_client(rng: random.Random, scene: Scene, replies: list[FakeDownstream]) -> None:
    reply = FakeDownstream(
        turn_s=rng.choice([0, 0, 0, 0.3]),
        leaves_at=rng.choice([None, None, None, 0, 1, 3]),
        stuck_at=rng.choice([None] * 7 + [0, 2]),
    )
    replies.append(reply)
    await trio.sleep(rng.choice([0, 0, 0.5, 1.5]))
    # It leaves after this long, at an instant when much else happens, too.
    with trio.move_on_after(rng.choice([0, 0.5, 1, 1.5, 2, 3, 5, 8, 60, 60, 60, 60])):
        await scene.ask(chat(stream=rng.random() < 0.7), reply)


async def one_run(seed: int, data_dir: Path) -> None:
    rng = random.Random(seed)
    async with scene_in(data_dir) as scene:
        for name, slots in ENDPOINTS.items():
            await scene.endpoint(name, slots=slots, health_check_interval_s=3000)
            scene.on(name, moody(rng, scene))  # type: ignore[arg-type]
        answers: list[FakeDownstream] = []
        async with trio.open_nursery() as clients:
            for _ in range(CLIENTS):
                clients.start_soon(one_client, rng, scene, answers)
        await scene.settle()

        assert not scene.leases
        assert not scene.waiting
        assert not scene.open_requests
        totals = sum((scene.totals(name) for name in ENDPOINTS), Totals())
        assert totals.total_requests == len(scene.requests())
        assert totals.total_requests == (
            totals.successful_requests + totals.failed_requests + totals.cancelled_requests
        )
        assert totals.successful_requests == sum(reply.whole for reply in answers)
        assert all(not error_after_done(reply) for reply in answers)
        for name, slots in ENDPOINTS.items():
            assert most_at_once(scene.requests(name)) <= slots
            measured = scene.standing(name) is not None
            assert measured == (scene.totals(name).successful_requests > 0)
        assert await scene.house.journal.flush()
        written = await scene.house.store.statistics.totals()
        assert sum(written.values(), Totals()).total_requests == totals.total_requests


def error_after_done(reply: FakeDownstream) -> bool:
    return b"[DONE]" in reply.body and b'"error"' in reply.body


def most_at_once(calls: list[SeenCall]) -> int:
    """How many of these calls were open at once; one that closes makes room in that instant."""
    changes = sorted(
        [(call.opened_at, 1) for call in calls]
        + [(call.closed_at, -1) for call in calls if call.closed_at is not None]
    )
    open_now = most = 0
    for _, change in changes:
        open_now += change
        most = max(most, open_now)
    return most


@pytest.mark.parametrize("first_seed", range(0, 4 * SEEDS_PER_TEST, SEEDS_PER_TEST))
def test_whenever_clients_leave_everything_is_given_back(first_seed: int, tmp_path: Path) -> None:
    for seed in range(first_seed, first_seed + SEEDS_PER_TEST):
        try:
            with capture_logs():
                trio.run(one_run, seed, tmp_path, clock=MockClock(autojump_threshold=0))
        except BaseException as error:
            error.add_note(f"with seed {seed}")
            raise
