"""What is told of jobs to whoever follows the events."""

from __future__ import annotations

from llmlb.events import BenchmarkProgress, DownloadProgress
from llmlb.jobs import Benchmark, Download


def of_download(download: Download) -> DownloadProgress:
    """How far it is, or how it ended."""
    return DownloadProgress(
        download.endpoint_id,
        download.endpoint_name,
        download.id,
        download.model,
        download.status.value,
        round(download.fraction, 4),
        download.progress.downloaded_bytes,
        download.progress.total_bytes,
        download.error,
    )


def of_benchmark(run: Benchmark) -> BenchmarkProgress:
    """How far it is and what it has found, or how it ended."""
    return BenchmarkProgress(
        run.id,
        run.plan.model,
        run.status.value,
        round(run.fraction, 4),
        run.result.total.mean_tps,
        run.error,
    )
