"""Which jobs of one kind there are: those that run, and the newest of those that are over."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Generic, Protocol, Self, TypeVar

import trio

from llmlb.jobs import JobStatus

TOLD_EVERY_S = 1.0
TOLD_EVERY_SHARE = 0.001
"""So much has to be new before it is told again: a job is told of a thousand times at most."""


class Job(Protocol):
    """What a board has to know of its jobs, which are frozen."""

    @property
    def id(self) -> str: ...

    @property
    def status(self) -> JobStatus: ...

    @property
    def fraction(self) -> float: ...

    def ended(self, status: JobStatus, at: datetime, error: str | None) -> Self: ...


J = TypeVar("J", bound=Job)


@dataclass(slots=True)
class _Running:
    """The task of one job, and what was last told of it."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    told_at_s: float = -math.inf
    told_status: JobStatus | None = None
    told_fraction: float = 0.0


class Board(Generic[J]):
    """Holds the jobs of one kind, in the order in which they began. No more than a table."""

    def __init__(self, *, most_running: int, most_kept: int, on_news: Callable[[J], None]) -> None:
        """*on_news* is told of a job now and then: at its beginning and its end in any case."""
        self.most_running = most_running
        self._most_kept, self._on_news = most_kept, on_news
        self._jobs: dict[str, J] = {}
        self._running: dict[str, _Running] = {}
        self.jobs: Mapping[str, J] = MappingProxyType(self._jobs)

    @property
    def full(self) -> bool:
        """Whether as many run as may."""
        return len(self._running) >= self.most_running

    def running(self) -> list[J]:
        """Those that are not over."""
        return [self._jobs[job_id] for job_id in self._running]

    def begin(self, job: J, now_s: float) -> trio.CancelScope:
        """Take in *job*; its work is to be done in the scope that is returned."""
        over = [job_id for job_id in self._jobs if job_id not in self._running]
        for job_id in over[: max(0, len(self._jobs) + 1 - self._most_kept)]:
            del self._jobs[job_id]
        self._jobs[job.id] = job
        self._running[job.id] = running = _Running()
        self._tell(job, running, now_s)
        return running.scope

    def advance(self, job_id: str, step: Callable[[J], J], now_s: float) -> None:
        """*step* has happened to a job; nothing happens to one that is over."""
        running = self._running.get(job_id)
        if running is not None:
            self._jobs[job_id] = job = step(self._jobs[job_id])
            new = abs(job.fraction - running.told_fraction) >= TOLD_EVERY_SHARE
            due = new and now_s - running.told_at_s >= TOLD_EVERY_S
            if due or job.status is not running.told_status:
                self._tell(job, running, now_s)

    def end(self, job_id: str, status: JobStatus, at: datetime, error: str | None) -> J | None:
        """A job is over, and its work stops if it has not. None if it was over before."""
        running = self._running.pop(job_id, None)
        if running is None:
            return None
        running.scope.cancel()
        self._jobs[job_id] = job = self._jobs[job_id].ended(status, at, error)
        self._on_news(job)
        return job

    def _tell(self, job: J, running: _Running, now_s: float) -> None:
        running.told_at_s = now_s
        running.told_status, running.told_fraction = job.status, job.fraction
        self._on_news(job)
