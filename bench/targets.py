"""What llmlb is meant to reach, and whether it did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.measures import MANY_STREAMS
from bench.results import LLMLB, Results
from bench.soak import Soaked, grown

SHORTEST_SOAK_MINUTES = 10
"""In less, caches that fill look like a leak."""

ALL_FAST_CHUNKS, ALL_MANY_CHUNKS = 25_600, 20_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target. *met* is None where that was not measured."""

    measure: str
    target: str
    measured: str
    met: bool | None


def verdicts(results: Results, soaked: Soaked | None) -> list[Verdict]:
    """One for each target, in order."""
    return [
        *_ratios(results),
        *_bounds(results),
        *_growth(results),
        *_soak(soaked),
    ]


def _ratios(results: Results) -> Iterator[Verdict]:
    own = results.median(LLMLB, "plain_rps")
    for other, least in (("vllm-router", 0.6), ("LiteLLM", 70.0)):
        theirs = results.median(other, "plain_rps")
        ratio = None if own is None or not theirs else own / theirs
        shown = "–" if ratio is None else f"{ratio:.2f} ×"
        met = None if ratio is None else ratio >= least
        yield Verdict("plain requests", f"≥ {least:g} × {other}", shown, met)


_BOUNDS = (
    ("added latency, p50", "latency_p50_us", "≤", 0.7, "ms"),
    ("added latency, p99", "latency_p99_us", "≤", 2.0, "ms"),
    ("256 streams: chunks kept", "fast_chunks_per_s", "≥", ALL_FAST_CHUNKS, "/s"),
    ("256 streams: first token, added p50", "fast_first_p50_us", "≤", 0.5, "ms"),
    ("256 streams: first token, added p99", "fast_first_p99_us", "≤", 2.0, "ms"),
    ("256 streams: chunk delay p99", "fast_delay_p99_us", "≤", 2.0, "ms"),
    ("256 streams: CPU per chunk", "fast_cpu_us", "≤", 36, "µs"),
    ("1,000 streams: chunks kept", "many_chunks_per_s", "≥", ALL_MANY_CHUNKS, "/s"),
    ("1,000 streams: chunk delay p99", "many_delay_p99_us", "≤", 5.0, "ms"),
    ("memory with 1,000 open streams", "open_pss_bytes", "≤", 110, "MB"),
    ("start with a large database", "start_large_s", "≤", 1.0, "s"),
)


def _bounds(results: Results) -> Iterator[Verdict]:
    for measure, figure, relation, bound, unit in _BOUNDS:
        value = results.median(LLMLB, figure)
        yield _bounded(measure, value, relation, bound, unit)
        if figure == "open_pss_bytes":
            idle = results.median(LLMLB, "idle_pss_bytes")
            each = None if value is None or idle is None else (value - idle) * 1e3 / MANY_STREAMS
            yield _bounded("memory of each open stream", each, "≤", 40, "KB")


def _bounded(measure: str, value: float | None, relation: str, bound: float, unit: str) -> Verdict:
    target = f"{relation} {bound:,g} {unit}" if bound < 1e5 else f"{relation} {bound:,} {unit}"
    if value is None:
        return Verdict(measure, target, "–", None)
    met = value <= bound if relation == "≤" else value >= bound
    return Verdict(measure, target, f"{value:,.{2 if value < 100 else 0}f} {unit}", met)


def _growth(results: Results) -> Iterator[Verdict]:
    for what, other in (("endpoints", "models"), ("models", "endpoints")):
        row = sorted((of[what], of["cpu_us"]) for of in results.growth if of[other] == 1)
        ratio = row[-1][1] / row[0][1] if len(row) > 1 else None
        most = f"{row[-1][0]:,.0f}" if row else "1,000"
        yield _bounded(f"cost of a request, 1 to {most} {what}", ratio, "≤", 1.3, "×")


def _soak(soaked: Soaked | None) -> Iterator[Verdict]:
    long_enough = soaked is not None and soaked.minutes >= SHORTEST_SOAK_MINUTES
    slope = soaked.slope_mb_per_h if soaked is not None and long_enough else None
    yield _bounded("soak: memory after the warm-up", slope, "≤", 1.0, "MB/h")
    left = "–"
    if soaked is not None:
        left = ", ".join(f"{n} {what}" for what, n in grown(soaked.before, soaked.after).items())
        left = left or "none"
    met = None if soaked is None else left == "none"
    yield Verdict("soak: leases, sockets, tasks left over", "none", left, met)
