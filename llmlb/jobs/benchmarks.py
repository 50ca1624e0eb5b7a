"""How many tokens per second a model makes on each of its endpoints, and how that was measured."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmlb.accounting import Usage, tokens_per_s
from llmlb.jobs.status import JobStatus
from llmlb.types import Api, EndpointId

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class BenchmarkPlan:
    """What is to be measured."""

    model: str
    api: Api
    total_requests: int
    concurrency: int
    """Requests at once, over all endpoints."""
    max_tokens: int
    """Of each answer."""
    temperature: float


@dataclass(frozen=True, slots=True)
class Sample:
    """What became of one request."""

    endpoint_id: EndpointId
    succeeded: bool
    tps: float | None = None
    """Output tokens per second; None: it failed, or nobody has counted its tokens."""
    error: str | None = None
    """Why it failed, for people."""


def speed_of(
    usage: Usage, duration_ms: float, time_to_first_token_ms: float | None
) -> float | None:
    """The speed of one answer, as `tokens_per_s`; of one that came at once, by its whole time.

    What its endpoint did meanwhile cannot be seen. None: nobody has counted its tokens.
    """
    if usage.estimated or not usage.output_tokens or duration_ms <= 0:
        return None
    streamed = tokens_per_s(usage, duration_ms, time_to_first_token_ms)
    return usage.output_tokens / duration_ms * 1000 if streamed is None else streamed


@dataclass(frozen=True, slots=True)
class Figures:
    """What several samples come to."""

    requests: int = 0
    successful_requests: int = 0
    measured_requests: int = 0
    mean_tps: float | None = None
    p50_tps: float | None = None
    p95_tps: float | None = None

    @property
    def success_rate(self) -> float:
        """From 0 to 1."""
        return self.successful_requests / self.requests if self.requests else 0.0


def percentile(in_order: Sequence[float], share: float) -> float:
    """The element of *in_order* at index round((n−1)·share), halves away from zero; n ≥ 1."""
    return in_order[math.floor((len(in_order) - 1) * share + 0.5)]


def figures(samples: Iterable[Sample]) -> Figures:
    """What *samples* come to; mean and percentiles are those of the ones that were measured."""
    taken = tuple(samples)
    measured = sorted(sample.tps for sample in taken if sample.tps is not None)
    counted = Figures(len(taken), sum(sample.succeeded for sample in taken), len(measured))
    if not measured:
        return counted
    return replace(
        counted,
        mean_tps=math.fsum(measured) / len(measured),
        p50_tps=percentile(measured, 0.5),
        p95_tps=percentile(measured, 0.95),
    )


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """What a run has found so far."""

    total: Figures
    per_endpoint: tuple[Figures, ...]
    """In the order of the run's endpoints."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One run over the endpoints of one model."""

    id: str
    plan: BenchmarkPlan
    endpoints: tuple[tuple[EndpointId, str], ...]
    """Ids and names, as they were at the beginning."""
    requested_at: datetime
    status: JobStatus = JobStatus.RUNNING
    completed_at: datetime | None = None
    error: str | None = None
    _samples: tuple[Sample, ...] = ()
    """While it runs; what they come to is all that is kept of them."""
    _found: BenchmarkResult | None = None

    @property
    def result(self) -> BenchmarkResult:
        """What was found so far."""
        return self._found or BenchmarkResult(
            figures(self._samples),
            tuple(
                figures(sample for sample in self._samples if sample.endpoint_id == endpoint_id)
                for endpoint_id, _ in self.endpoints
            ),
        )

    @property
    def fraction(self) -> float:
        """How much of it is done, from 0 to 1."""
        done = len(self._samples) if self._found is None else self._found.total.requests
        return done / self.plan.total_requests

    def advanced(self, sample: Sample) -> Benchmark:
        """This run with one more sample."""
        return replace(self, _samples=(*self._samples, sample))

    def ended(self, status: JobStatus, at: datetime, error: str | None) -> Benchmark:
        """This run as it is from now on: without any success it has failed."""
        if status is JobStatus.COMPLETED and not any(s.succeeded for s in self._samples):
            status, error = JobStatus.FAILED, f"No request succeeded: {self._commonest_error()}"
        return replace(
            self, status=status, completed_at=at, error=error, _samples=(), _found=self.result
        )

    def _commonest_error(self) -> str:
        told = Counter(sample.error for sample in self._samples if sample.error is not None)
        return told.most_common(1)[0][0] if told else "no endpoint was asked."
