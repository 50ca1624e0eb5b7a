"""What the owner of the jobs can be told and asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from llmlb.actors.mailbox import Ask
from llmlb.jobs import Benchmark, BenchmarkPlan, Download, Progress, Sample
from llmlb.types import Endpoint, EndpointId

Fetch = Callable[[Callable[[Progress], None]], Awaitable[None]]
"""Does a download, and tells how far it is. Raises JobFailed."""

Measure = Callable[[Callable[[Sample], None]], Awaitable[None]]
"""Does a benchmark, and tells of each request. Raises JobFailed."""


@dataclass(slots=True, eq=False)
class BeginDownload(Ask[Download]):
    endpoint: Endpoint
    model: str
    work: Fetch


@dataclass(slots=True, eq=False)
class BeginBenchmark(Ask[Benchmark]):
    plan: BenchmarkPlan
    endpoints: tuple[tuple[EndpointId, str], ...]
    work: Measure


@dataclass(frozen=True, slots=True)
class Fetched:
    """A download is so far."""

    download_id: str
    progress: Progress


@dataclass(frozen=True, slots=True)
class Measured:
    """A request of a benchmark is over."""

    benchmark_id: str
    sample: Sample


@dataclass(frozen=True, slots=True)
class Done:
    """The work of a job has ended; *failure* says for people why in vain, if it was."""

    job_id: str
    failure: str | None


@dataclass(slots=True, eq=False)
class CancelDownload(Ask[Download]):
    """Answered with the download as it is then; one that was over stays as it is."""

    download_id: str
    note: str | None


@dataclass(slots=True, eq=False)
class CancelBenchmark(Ask[Benchmark]):
    """Answered with the run as it is then; one that was over stays as it is."""

    benchmark_id: str


@dataclass(frozen=True, slots=True)
class EndpointGone:
    """An endpoint was removed, or is another server now."""

    endpoint_id: EndpointId


@dataclass(frozen=True, slots=True)
class EndAll:
    """The balancer stops: what runs ends, and nothing begins."""


Message = (
    BeginDownload
    | BeginBenchmark
    | Fetched
    | Measured
    | Done
    | CancelDownload
    | CancelBenchmark
    | EndpointGone
    | EndAll
)
