"""How downloads and benchmarks look to an operator."""

from __future__ import annotations

from llmlb.http.jobs.benchmark import SOURCE
from llmlb.http.manage.endpoint_json import JsonObject, instant
from llmlb.jobs import Benchmark, Download
from llmlb.jobs.benchmarks import Figures

BITS_PER_MEGABIT = 1_000_000


def download_json(download: Download) -> JsonObject:
    """A task, as the older product has it, and what there is to show beside."""
    progress = download.progress
    per_s, left_s = progress.bytes_per_s, progress.left_s
    return {
        "task_id": download.id,
        "endpoint_id": download.endpoint_id,
        "model": download.model,
        "status": download.status.value,
        "progress": round(download.fraction, 4),
        "speed_mbps": None if per_s is None else round(per_s * 8 / BITS_PER_MEGABIT, 3),
        "eta_seconds": None if left_s is None else round(left_s),
        "error_message": download.error,
        "stage": progress.stage,
        "downloaded_bytes": progress.downloaded_bytes,
        "total_bytes": progress.total_bytes,
        "started_at": instant(download.started_at),
        "finished_at": instant(download.finished_at),
    }


def benchmark_json(run: Benchmark) -> JsonObject:
    """A run with what it has found so far."""
    plan, result = run.plan, run.result
    return {
        "run_id": run.id,
        "status": run.status.value,
        "progress": round(run.fraction, 4),
        "requested_at": instant(run.requested_at),
        "completed_at": instant(run.completed_at),
        "request": {
            "model": plan.model,
            "api_kind": plan.api.value,
            "total_requests": plan.total_requests,
            "concurrency": plan.concurrency,
            "max_tokens": plan.max_tokens,
            "temperature": plan.temperature,
        },
        "result": {
            "api_kind": plan.api.value,
            "source": SOURCE,
            "total_requests": result.total.requests,
            **_figures_json(result.total),
            "per_endpoint": [
                {
                    "endpoint_id": endpoint_id,
                    "endpoint_name": name,
                    "requests": found.requests,
                    **_figures_json(found),
                }
                for (endpoint_id, name), found in zip(
                    run.endpoints, result.per_endpoint, strict=True
                )
            ],
        },
        "error": run.error,
    }


def _figures_json(figures: Figures) -> JsonObject:
    return {
        "successful_requests": figures.successful_requests,
        "measured_requests": figures.measured_requests,
        "success_rate": round(figures.success_rate, 4),
        "mean_tps": _tps(figures.mean_tps),
        "p50_tps": _tps(figures.p50_tps),
        "p95_tps": _tps(figures.p95_tps),
    }


def _tps(measured: float | None) -> float | None:
    return None if measured is None else round(measured, 3)
