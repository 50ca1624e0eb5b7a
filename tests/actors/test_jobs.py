"""The owner of the jobs: begun, told of, cancelled, forgotten."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from llmlb.actors.jobs import JobOwner
from llmlb.actors.jobs.messages import Fetch, Measure
from llmlb.actors.jobs.owner import (
    LIMIT_S,
    MOST_BENCHMARKS,
    MOST_DOWNLOADS,
    MOST_KEPT,
    MOVED,
    STOPPED,
)
from llmlb.actors.mailbox import ActorGone
from llmlb.errors import NotFound, Overloaded, ShuttingDown
from llmlb.events import BenchmarkProgress, DownloadProgress, Event
from llmlb.jobs import Benchmark, BenchmarkPlan, Download, JobFailed, Progress, Sample
from llmlb.types import Endpoint, EndpointId
from tests.actors.conftest import A_ID, CHAT, NOW, endpoint

PLAN = BenchmarkPlan("m", CHAT, 2, 1, 8, 0.0)


class Works:
    """An owner, and what it told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.downloaded: list[EndpointId] = []
        ids = count(1)
        self.owner = JobOwner(
            on_event=self.events.append,
            on_downloaded=self.downloaded.append,
            now=lambda: NOW,
            new_id=lambda: f"job-{next(ids)}",
        )

    async def fetch(self, model: str, work: Fetch, one: Endpoint | None = None) -> Download:
        return await self.owner.download(one or endpoint("a"), model, work)

    async def measure(self, work: Measure) -> Benchmark:
        return await self.owner.benchmark(PLAN, ((A_ID, "a"),), work)

    def download(self, job_id: str = "job-1") -> Download:
        return self.owner.downloads[job_id]


@pytest.fixture
async def works(nursery: trio.Nursery) -> Works:
    works = Works()
    await nursery.start(works.owner.run)
    return works


async def for_ever(_: Callable[..., None]) -> None:
    await trio.sleep_forever()


async def at_once(_: Callable[..., None]) -> None:
    await trio.lowlevel.checkpoint()


def ending_in(error: Exception) -> Fetch:
    async def work(_: Callable[[Progress], None]) -> None:
        await trio.lowlevel.checkpoint()
        raise error

    return work


def steady(seconds: int, per_s: int = 10) -> Fetch:
    """A download of as many bytes as seconds times ten, told of that often."""

    async def work(report: Callable[[Progress], None]) -> None:
        for done in range(1, seconds * per_s + 1):
            await trio.sleep(1 / per_s)
            report(Progress(done, seconds * per_s, 1.0, "pulling"))

    return work


async def test_a_download_is_seen_from_its_beginning_to_its_end(works: Works) -> None:
    begun = await works.fetch("m", steady(10))
    assert (begun.id, begun.status, begun.fraction) == ("job-1", "pending", 0.0)
    await trio.sleep(5.05)
    half = works.download()
    assert (half.status, half.fraction, half.progress.stage) == ("downloading", 0.5, "pulling")
    assert not works.downloaded
    await trio.sleep(5)
    over = works.download()
    assert (over.status, over.fraction, over.finished_at, over.error) == ("completed", 1, NOW, None)
    assert over.progress.bytes_per_s is None
    assert works.downloaded == [A_ID]


async def test_events_come_at_each_turn_and_else_once_a_second(works: Works) -> None:
    await works.fetch("m", steady(10))
    await trio.sleep(20)
    told = [event for event in works.events if isinstance(event, DownloadProgress)]
    assert [event.status for event in told] == ["pending", *["downloading"] * 10, "completed"]
    assert [event.progress for event in told] == sorted(event.progress for event in told)
    assert (told[-1].task_id, told[-1].progress, told[-1].error_message) == ("job-1", 1.0, None)


async def test_what_hardly_moves_is_not_told_again_and_again(works: Works) -> None:
    async def work(report: Callable[[Progress], None]) -> None:
        for done in range(10_000):
            report(Progress(done, 10_000_000))
            await trio.sleep(1)

    await works.fetch("m", work)
    await trio.sleep(20_000)
    assert len(works.events) <= 4


async def test_the_same_model_is_fetched_once_at_a_time(works: Works) -> None:
    first = await works.fetch("m", for_ever)
    assert (await works.fetch("m", at_once)).id == first.id
    assert (await works.fetch("m", at_once, endpoint("b"))).id != first.id
    assert (await works.fetch("n", at_once)).id != first.id
    await works.owner.cancel_download(first.id)
    assert (await works.fetch("m", at_once)).id != first.id


async def test_cancelling_stops_the_work_and_is_final(works: Works) -> None:
    stopped: list[float] = []

    async def work(report: Callable[[Progress], None]) -> None:
        try:
            await trio.sleep_forever()
        finally:
            stopped.append(trio.current_time())
            report(Progress(9, 9))  # too late to be heard

    await works.fetch("m", work)
    await trio.sleep(3)
    cancelled = await works.owner.cancel_download("job-1", "It goes on elsewhere.")
    assert (cancelled.status, cancelled.error) == ("cancelled", "It goes on elsewhere.")
    await wait_all_tasks_blocked()
    assert stopped == [3]
    assert works.download() is cancelled
    assert await works.owner.cancel_download("job-1", "Again.") is cancelled
    assert not works.downloaded


async def test_a_run_is_measured_and_can_be_cancelled(works: Works) -> None:
    async def work(measured: Callable[[Sample], None]) -> None:
        measured(Sample(A_ID, succeeded=True, tps=7.0))
        await trio.sleep_forever()

    begun = await works.measure(work)
    await wait_all_tasks_blocked()
    assert works.owner.benchmarks[begun.id].fraction == 0.5
    over = await works.owner.cancel_benchmark(begun.id)
    assert (over.status, over.result.total.mean_tps) == ("cancelled", 7.0)
    last = works.events[-1]
    assert isinstance(last, BenchmarkProgress)
    assert (last.status, last.mean_tps) == ("cancelled", 7.0)


@pytest.mark.parametrize("kind", ["download", "benchmark"])
async def test_an_unknown_job_cannot_be_cancelled(works: Works, kind: str) -> None:
    await works.fetch("m", for_ever)
    await works.measure(for_ever)
    other = {"download": "job-2", "benchmark": "job-1"}[kind]
    with pytest.raises(NotFound):
        await getattr(works.owner, f"cancel_{kind}")(other)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (JobFailed("No such model."), "No such model."),
        (ActorGone(), STOPPED),
        (
            ZeroDivisionError("secret"),
            "Something went wrong inside the balancer; its log has more.",
        ),
    ],
)
async def test_work_that_fails_ends_its_job_and_nothing_else(
    works: Works, error: Exception, told: str
) -> None:
    await works.fetch("m", ending_in(error))
    await wait_all_tasks_blocked()
    assert (works.download().status, works.download().error) == ("failed", told)
    assert (await works.fetch("n", at_once)).id == "job-2"


async def test_no_job_goes_on_for_ever(works: Works) -> None:
    await works.fetch("m", for_ever)
    await trio.sleep(LIMIT_S + 1)
    assert (works.download().status, works.download().error) == (
        "failed",
        "It was not done within 168 hours.",
    )


async def test_so_many_run_and_so_many_are_remembered(works: Works) -> None:
    for number in range(MOST_DOWNLOADS):
        await works.fetch(f"m{number}", for_ever)
    with pytest.raises(Overloaded, match="8 downloads run already"):
        await works.fetch("one more", for_ever)
    for _ in range(MOST_BENCHMARKS):
        await works.measure(for_ever)
    with pytest.raises(Overloaded, match="4 benchmarks run already"):
        await works.measure(for_ever)

    await works.owner.cancel_download("job-8")
    for number in range(MOST_KEPT + 10):
        await works.fetch(f"short {number}", at_once)
        await wait_all_tasks_blocked()
    kept = list(works.owner.downloads.values())
    assert len(kept) == MOST_KEPT
    assert [d.model for d in kept[:8]] == [f"m{n}" for n in range(7)] + ["short 17"], "runs first"
    assert kept[-1].model == f"short {MOST_KEPT + 9}"


async def test_an_endpoint_that_goes_ends_its_downloads_alone(works: Works) -> None:
    await works.fetch("m", for_ever)
    await works.fetch("m", for_ever, endpoint("b"))
    works.owner.endpoint_gone(A_ID)
    await wait_all_tasks_blocked()
    assert (works.download().status, works.download().error) == ("failed", MOVED)
    assert works.download("job-2").status == "pending"


async def test_at_the_end_of_all_everything_is_told_and_nothing_begins(works: Works) -> None:
    await works.fetch("m", for_ever)
    await works.measure(for_ever)
    works.owner.end_all()
    await wait_all_tasks_blocked()
    assert [getattr(event, "status", None) for event in works.events[-2:]] == ["failed", "failed"]
    assert works.download().error == works.owner.benchmarks["job-2"].error == STOPPED
    with pytest.raises(ShuttingDown):
        await works.fetch("m", at_once)
    with pytest.raises(ShuttingDown):
        await works.measure(at_once)


async def test_an_owner_that_is_closed_takes_its_work_along(nursery: trio.Nursery) -> None:
    works = Works()
    await nursery.start(works.owner.run)
    await works.fetch("m", steady(1000))
    works.owner.close()
    await wait_all_tasks_blocked()
    with pytest.raises(ActorGone):
        await works.fetch("n", at_once)


@pytest.mark.parametrize("seed", range(20))
async def test_callers_that_give_up_leave_no_job_that_nobody_knows(works: Works, seed: int) -> None:
    rng, known = random.Random(seed), []

    async def begin(number: int) -> None:
        with trio.move_on_after(rng.choice([0, 0.001, 1])):
            await trio.sleep(rng.choice([0, 0.001]))
            known.append((await works.fetch(f"m{number}", for_ever)).id)

    async with trio.open_nursery() as nursery:
        for number in range(MOST_DOWNLOADS):
            nursery.start_soon(begin, number)
    await wait_all_tasks_blocked()
    assert sorted(works.owner.downloads) == sorted(known)
