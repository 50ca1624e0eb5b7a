"""What is measured of one contender in one round."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import proc
from bench.contenders import Running
from bench.load import Ask, Measured, put_load
from bench.results import Figures

FAST_STREAMS, FAST_MODEL = 256, "stub-n100-i10000"
"""100 chunks of content in a second, each."""
MANY_STREAMS, MANY_MODEL = 1_000, "stub-n100-i50000"
"""20 a second."""
OPEN_MODEL = "stub-n100-i1000000"
"""1 a second: streams that are open, and little else."""

NEARLY_ALL = 0.95

CALM_S = 1.0
"""After the start, before memory is called idle."""


class Faulty(Exception):
    """Some responses were errors; the text says which."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long everything takes; the same for all contenders."""

    window_s: float
    warmup_s: float
    rounds: int
    opening_s: float
    """For the streams that are only held open, until all are: the slower ones need it."""

    def asks(self) -> Mapping[str, Ask]:
        """The loads, by what their figures are called."""
        window_s, warmup_s = self.window_s, self.warmup_s
        # a ramp: streams that begin together would stay in step, and come in bursts
        return {
            "plain": Ask(32, window_s, warmup_s),
            "latency": Ask(32, window_s * 2, warmup_s, rate_per_s=50),
            "fast": Ask(
                *(FAST_STREAMS, window_s, warmup_s + 1, FAST_MODEL), streams=True, ramp_s=1
            ),
            "many": Ask(
                *(MANY_STREAMS, window_s, warmup_s + 1, MANY_MODEL), streams=True, ramp_s=1
            ),
            "open": Ask(
                *(MANY_STREAMS, window_s, self.opening_s, OPEN_MODEL), streams=True, ramp_s=1
            ),
        }


QUICK = Plan(window_s=1.0, warmup_s=0.3, rounds=1, opening_s=3.0)
FULL = Plan(window_s=3.0, warmup_s=1.0, rounds=3, opening_s=8.0)


def measure(lg: Path, plan: Plan, running: Running, *, weigh: bool) -> tuple[Figures, list[str]]:
    """All figures of *running*, and what was wrong: what was measured with errors is left out.

    *weigh*: its memory with open streams, too, which takes long and is the same every time.
    """
    figures, faults = _idle(running), []
    for name, ask in plan.asks().items():
        holding = name == "open"
        if holding and not (weigh and running.pid is not None):
            continue
        try:
            figures |= _figures_of(name, _loaded(lg, ask, running, weigh=holding))
        except Faulty as fault:
            faults.append(f"{running.name}, {name}: {fault}")
    return figures, faults


def _idle(running: Running) -> Figures:
    if running.pid is None:
        return {}
    time.sleep(CALM_S)
    held = proc.memory(running.pid)
    figures: Figures = {"idle_pss_bytes": held.pss, "idle_rss_bytes": held.rss}
    if running.start_s is not None:
        figures["start_s"] = running.start_s
    return figures


def _loaded(lg: Path, ask: Ask, running: Running, *, weigh: bool) -> Measured:
    """Put a load on. Raises Faulty if any response was an error."""
    found = put_load(lg, ask, running.port, key=running.key, pid=running.pid, weigh=weigh)
    if found.load.fault is not None:
        raise Faulty(found.load.fault)
    if weigh and found.load.chunks_per_s < ask.connections * NEARLY_ALL:  # one a second, each
        raise Faulty(f"only about {found.load.chunks_per_s:.0f} of the streams were open")
    return found


def _figures_of(name: str, found: Measured) -> Figures:
    load = found.load
    match name:
        case "plain":
            figures = {"plain_rps": load.requests_per_s}
            return figures | _per(found, load.ok, "plain_cpu_us")
        case "latency":
            return {"latency_p50_us": load.latency.p50, "latency_p99_us": load.latency.p99}
        case "fast":
            figures = {
                "fast_chunks_per_s": load.chunks_per_s,
                "fast_first_p50_us": load.first_chunk.p50,
                "fast_first_p99_us": load.first_chunk.p99,
                "fast_delay_p99_us": load.delivery.p99,
            }
            return figures | _per(found, load.chunks, "fast_cpu_us")
        case "many":
            return {
                "many_chunks_per_s": load.chunks_per_s,
                "many_delay_p99_us": load.delivery.p99,
            }
    if found.memory is None:
        return {}
    return {"open_pss_bytes": found.memory.pss, "open_rss_bytes": found.memory.rss}


def _per(found: Measured, n: int, figure: str) -> Figures:
    """CPU of each of *n*."""
    return {} if found.cpu_s is None else {figure: found.cpu_s / max(n, 1) * 1e6}
