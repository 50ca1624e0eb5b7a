"""A wall clock that jumps by a day, to and fro: only what says when something was is touched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from llmlb.actors.responses import KEPT_FOR, SWEEP_EVERY_S, ResponseDirectory
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.routing import STALE_AFTER_S
from llmlb.types import EndpointId, Status, Whereabouts
from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import NOW, Scene, scene_in, url
from tests.fakes.openai import completion
from tests.fakes.upstream import json_answer, replies

DAY = timedelta(days=1)
A_ID = EndpointId("id-a")

each_jump = pytest.mark.parametrize("jump", [DAY, -DAY], ids=["a day on", "a day back"])


class Wall:
    """A wall clock that goes with the clock of the test until it is set."""

    def __init__(self) -> None:
        self.off = timedelta(0)

    def __call__(self) -> datetime:
        return NOW + timedelta(seconds=trio.current_time()) + self.off


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
async def scene(tmp_path: Path, wall: Wall) -> AsyncIterator[Scene]:
    async with scene_in(tmp_path, now=wall, queue_timeout_s=30.0, queue_max=1) as scene:
        yield scene


def takes(scene: Scene, name: str, seconds: float) -> None:
    scene.on(name, replies(json_answer(completion()), after_s=seconds))


@each_jump
async def test_latency_is_what_the_monotonic_clock_says(
    scene: Scene, wall: Wall, nursery: trio.Nursery, jump: timedelta
) -> None:
    await scene.endpoint("a")
    takes(scene, "a", 2.0)
    nursery.start_soon(scene.ask)
    await trio.sleep(1)
    wall.off = jump  # in the middle of the request
    await trio.sleep(2)
    assert scene.latency_ms("a") == pytest.approx(2000)
    assert scene.totals("a").total_duration_ms == pytest.approx(2000)
    (sample,) = scene.house.latency.history(A_ID)
    assert sample.at == NOW + timedelta(seconds=2) + jump


@each_jump
async def test_a_latency_grows_stale_after_five_minutes_whatever_the_wall_says(
    scene: Scene, wall: Wall, jump: timedelta
) -> None:
    for name, seconds in (("a", 1.0), ("b", 2.0)):
        await scene.endpoint(name)
        takes(scene, name, seconds)
    for _ in range(4):
        await scene.ask()
    tried = len(scene.requests("b"))
    wall.off = jump
    for _ in range(3):
        await scene.ask()
    assert len(scene.requests("b")) == tried, "still known to be the slower one"
    await trio.sleep(STALE_AFTER_S)
    for _ in range(2):
        await scene.ask()
    assert len(scene.requests("b")) == tried + 1, "explored again"


@each_jump
async def test_the_line_and_its_retry_after_do_not_look_at_the_wall(
    scene: Scene, wall: Wall, nursery: trio.Nursery, jump: timedelta
) -> None:
    await scene.endpoint("a")
    takes(scene, "a", 10.0)
    for _ in range(6):
        await scene.ask()  # six in the last minute
    takes(scene, "a", 1000.0)
    nursery.start_soon(scene.ask)
    await wait_all_tasks_blocked()
    wall.off = jump
    waits = FakeDownstream()
    asked_at_s = trio.current_time()
    nursery.start_soon(lambda: scene.ask(downstream=waits))
    await wait_all_tasks_blocked()
    refused = await scene.ask()
    assert (refused.status, refused.headers["retry-after"]) == (429, "10"), "1 ahead, 6 a minute"
    await trio.sleep(29)
    assert not waits.heads
    await trio.sleep(2)
    assert waits.status == 504
    assert trio.current_time() - asked_at_s == pytest.approx(31)
    nursery.cancel_scope.cancel()


@each_jump
async def test_probes_go_on_at_their_interval_and_last_seen_is_the_new_time(
    scene: Scene, wall: Wall, jump: timedelta
) -> None:
    await scene.endpoint("a", health_check_interval_s=10.0)
    wall.off = jump
    await trio.sleep(15)
    seen_at = scene.known("a").last_seen_at
    assert seen_at is not None
    assert timedelta(0) <= wall() - seen_at <= timedelta(seconds=15)
    refused = UpstreamFault(FaultKind.UNREACHABLE, "Connection refused.")
    scene.upstream.on(url("a"), "GET", "/v1/models", replies(refused))
    await trio.sleep(60)
    assert scene.status_of("a") is Status.OFFLINE


@each_jump
async def test_statistics_add_up_over_days_that_come_twice_or_never(
    scene: Scene, wall: Wall, jump: timedelta
) -> None:
    await scene.endpoint("a")
    takes(scene, "a", 1.0)
    for off in (timedelta(0), jump, timedelta(0), jump):
        wall.off = off
        await scene.ask()
        await trio.sleep(1)
    assert await scene.house.journal.flush()
    kept = (await scene.house.store.statistics.totals())[A_ID]
    assert kept == scene.totals("a")
    assert kept.successful_requests == 4
    days = await scene.house.store._database.read(
        lambda statements: statements.rows("SELECT day, total_requests FROM daily_statistics")
    )
    assert {row["day"]: row["total_requests"] for row in days} == {
        NOW.date().isoformat(): 2,
        (NOW + jump).date().isoformat(): 2,
    }


@each_jump
async def test_a_stored_response_expires_at_most_a_day_early_or_late(
    nursery: trio.Nursery, wall: Wall, jump: timedelta
) -> None:
    gone_at_s: dict[str, float] = {}

    def changed(response_id: str, whereabouts: Whereabouts | None) -> None:
        if whereabouts is None:
            gone_at_s[response_id] = trio.current_time()

    directory = ResponseDirectory({}, on_changed=changed, now=wall)
    await nursery.start(directory.run)
    directory.made("before", A_ID, None)
    await trio.sleep(SWEEP_EVERY_S)
    wall.off = jump
    directory.made("after", A_ID, None)
    await trio.sleep(SWEEP_EVERY_S)
    assert directory.whereabouts.keys() == {"before", "after"}, "nothing is lost at the jump"
    await trio.sleep((KEPT_FOR + 2 * DAY).total_seconds())
    assert not directory.whereabouts
    kept_s = KEPT_FOR.total_seconds()
    assert abs(gone_at_s["before"] - kept_s) <= DAY.total_seconds() + SWEEP_EVERY_S
    assert abs(gone_at_s["after"] - SWEEP_EVERY_S - kept_s) <= 2 * SWEEP_EVERY_S
    nursery.cancel_scope.cancel()
