"""Which downloads and benchmarks there are, how far each is, and who may still stop it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, assert_never

import structlog
import trio

from llmlb.actors.jobs.board import Board, J
from llmlb.actors.jobs.messages import (
    BeginBenchmark,
    BeginDownload,
    CancelBenchmark,
    CancelDownload,
    Done,
    EndAll,
    EndpointGone,
    Fetch,
    Fetched,
    Measure,
    Measured,
    Message,
)
from llmlb.actors.jobs.news import of_benchmark, of_download
from llmlb.actors.mailbox import ActorGone, Mailbox, MailboxStatistics, Reply
from llmlb.errors import NotFound, Overloaded, ShuttingDown
from llmlb.events import Event
from llmlb.jobs import Benchmark, BenchmarkPlan, Download, JobFailed, JobStatus
from llmlb.types import Endpoint, EndpointId

log = structlog.get_logger()

MOST_DOWNLOADS, MOST_BENCHMARKS = 8, 4
"""At once, over all endpoints."""

MOST_KEPT = 200
"""Of each kind, those that are over included."""

FULL_RETRY_AFTER_S = 60

LIMIT_S = 7 * 24 * 3600.0
"""Of one job, however well it goes on."""

STOPPED = "The balancer was stopped."
MOVED = "The endpoint was removed, or is another server now."


class JobOwner:
    """Owns the jobs, and the task that does the work of each.

    The work comes from whoever begins a job. It is done here, not in the request that asked for
    it, so it outlives that; a restart of the balancer it does not outlive.
    """

    def __init__(
        self,
        *,
        on_event: Callable[[Event], None],
        on_downloaded: Callable[[EndpointId], None],
        now: Callable[[], datetime],
        clock: Callable[[], float] = trio.current_time,
        new_id: Callable[[], str],
    ) -> None:
        """*on_event* is told of jobs now and then, *on_downloaded* where there is a new model.

        Neither may block.
        """
        self._mailbox = Mailbox[Message]()
        self._on_downloaded = on_downloaded
        self._now, self._clock, self._new_id = now, clock, new_id
        self._downloads = Board[Download](
            most_running=MOST_DOWNLOADS,
            most_kept=MOST_KEPT,
            on_news=lambda one: on_event(of_download(one)),
        )
        self._benchmarks = Board[Benchmark](
            most_running=MOST_BENCHMARKS,
            most_kept=MOST_KEPT,
            on_news=lambda one: on_event(of_benchmark(one)),
        )
        self.downloads, self.benchmarks = self._downloads.jobs, self._benchmarks.jobs
        self._closed = False
        self._children: trio.Nursery

    async def download(self, endpoint: Endpoint, model: str, work: Fetch) -> Download:
        """Begin to fetch *model*; if that is under way already, the one that is.

        Raises Overloaded, ShuttingDown, ActorGone.
        """
        return await self._mailbox.ask(BeginDownload(endpoint, model, work))

    async def benchmark(
        self, plan: BenchmarkPlan, endpoints: tuple[tuple[EndpointId, str], ...], work: Measure
    ) -> Benchmark:
        """Begin a run over *endpoints*. Raises Overloaded, ShuttingDown, ActorGone."""
        return await self._mailbox.ask(BeginBenchmark(plan, endpoints, work))

    async def cancel_download(self, download_id: str, note: str | None = None) -> Download:
        """Stop it; *note* says what that cannot stop. Raises NotFound, ActorGone."""
        return await self._mailbox.ask(CancelDownload(download_id, note))

    async def cancel_benchmark(self, benchmark_id: str) -> Benchmark:
        """Stop it; what was measured is kept. Raises NotFound, ActorGone."""
        return await self._mailbox.ask(CancelBenchmark(benchmark_id))

    def endpoint_gone(self, endpoint_id: EndpointId) -> None:
        self._mailbox.tell(EndpointGone(endpoint_id))

    def end_all(self) -> None:
        """Stop whatever runs, and begin nothing new."""
        self._mailbox.tell(EndAll())

    def mailbox_statistics(self) -> MailboxStatistics:
        return self._mailbox.statistics()

    def close(self) -> None:
        self._mailbox.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as self._children:
            await self._mailbox.serve(self._handle, task_status=task_status)
            self._children.cancel_scope.cancel()

    def _handle(self, message: Message) -> None:
        match message:
            case BeginDownload():
                self._begin_download(message)
            case BeginBenchmark():
                self._begin_benchmark(message)
            case Fetched(job_id, progress):
                self._downloads.advance(job_id, lambda d: d.advanced(progress), self._clock())
            case Measured(job_id, sample):
                self._benchmarks.advance(job_id, lambda b: b.advanced(sample), self._clock())
            case Done(job_id, failure):
                self._done(job_id, failure)
            case CancelDownload():
                self._cancel(self._downloads, message.download_id, message.reply, message.note)
            case CancelBenchmark():
                self._cancel(self._benchmarks, message.benchmark_id, message.reply)
            case EndpointGone(endpoint_id):
                self._abandon(endpoint_id)
            case EndAll():
                self._end_all()
            case _:
                assert_never(message)

    # -- a job begins

    def _begin_download(self, message: BeginDownload) -> None:
        endpoint, model = message.endpoint, message.model
        for one in self._downloads.running():
            if (one.endpoint_id, one.model) == (endpoint.id, model):
                message.reply.answer(one)
                return
        if (refusal := self._refusal(self._downloads, "downloads")) is not None:
            message.reply.refuse(refusal)
            return
        job = Download(self._new_id(), endpoint.id, endpoint.name, model, self._now())
        if message.reply.answer(job):
            scope = self._downloads.begin(job, self._clock())
            tell = partial(self._tell, partial(Fetched, job.id))
            self._children.start_soon(self._carry, job.id, scope, partial(message.work, tell))

    def _begin_benchmark(self, message: BeginBenchmark) -> None:
        if (refusal := self._refusal(self._benchmarks, "benchmarks")) is not None:
            message.reply.refuse(refusal)
            return
        job = Benchmark(self._new_id(), message.plan, message.endpoints, self._now())
        if message.reply.answer(job):
            scope = self._benchmarks.begin(job, self._clock())
            tell = partial(self._tell, partial(Measured, job.id))
            self._children.start_soon(self._carry, job.id, scope, partial(message.work, tell))

    def _refusal(self, board: Board[Any], what: str) -> Overloaded | ShuttingDown | None:
        """Why no job can begin, if so."""
        if self._closed:
            return ShuttingDown("The balancer is shutting down.")
        if board.full:
            return Overloaded(
                f"{board.most_running} {what} run already; wait for one of them, or cancel it.",
                retry_after_s=FULL_RETRY_AFTER_S,
            )
        return None

    # -- its work, in a child task

    def _tell(self, message_of: Callable[[Any], Message], news: object) -> None:
        """What the work of a job reports; of no meaning once the owner has stopped."""
        with suppress(ActorGone):
            self._mailbox.tell(message_of(news))

    async def _carry(
        self, job_id: str, scope: trio.CancelScope, work: Callable[[], Awaitable[None]]
    ) -> None:
        failure: str | None = None
        scope.deadline = trio.current_time() + LIMIT_S
        with scope:
            try:
                await work()
            except JobFailed as error:
                failure = str(error)
            except ActorGone:
                failure = STOPPED
            except Exception:  # a fault of ours is the end of one job, not of the server
                log.exception("a job broke", job=job_id)
                failure = "Something went wrong inside the balancer; its log has more."
        if scope.cancelled_caught:  # else somebody has ended it, and this is not heard
            failure = f"It was not done within {LIMIT_S / 3600:.0f} hours."
        self._tell(partial(Done, job_id), failure)

    def _done(self, job_id: str, failure: str | None) -> None:
        status = JobStatus.COMPLETED if failure is None else JobStatus.FAILED
        self._benchmarks.end(job_id, status, self._now(), failure)
        download = self._downloads.end(job_id, status, self._now(), failure)
        if download is not None and failure is None:
            self._on_downloaded(download.endpoint_id)

    # -- it ends before its work is done

    def _cancel(
        self, board: Board[J], job_id: str, reply: Reply[J], note: str | None = None
    ) -> None:
        board.end(job_id, JobStatus.CANCELLED, self._now(), note)
        job = board.jobs.get(job_id)
        if job is None:
            reply.refuse(NotFound("There is no job with this id."))
        else:
            reply.answer(job)

    def _abandon(self, endpoint_id: EndpointId) -> None:
        for download in self._downloads.running():
            if download.endpoint_id == endpoint_id:
                self._downloads.end(download.id, JobStatus.FAILED, self._now(), MOVED)

    def _end_all(self) -> None:
        self._closed = True
        for download in self._downloads.running():
            self._downloads.end(download.id, JobStatus.FAILED, self._now(), STOPPED)
        for run in self._benchmarks.running():
            self._benchmarks.end(run.id, JobStatus.FAILED, self._now(), STOPPED)
