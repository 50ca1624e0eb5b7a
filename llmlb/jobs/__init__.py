"""Work that goes on after the request that asked for it: downloads and benchmarks, all frozen."""

from __future__ import annotations

from llmlb.jobs.benchmarks import Benchmark, BenchmarkPlan, Sample
from llmlb.jobs.downloads import Download, Progress
from llmlb.jobs.status import JobFailed, JobStatus

__all__ = [
    "Benchmark",
    "BenchmarkPlan",
    "Download",
    "JobFailed",
    "JobStatus",
    "Progress",
    "Sample",
]
