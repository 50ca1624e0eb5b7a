"""What the load generator is asked for, and what it says it saw."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import proc
from bench.places import LOAD_CORE

GRACE_S = 30.0
"""Beyond its own time, before it is given up."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One run of the load generator; times in seconds."""

    connections: int
    window_s: float
    warmup_s: float
    model: str = "stub"
    streams: bool = False
    rate_per_s: float | None = None
    """None: a closed loop."""
    ramp_s: float = 0.0
    leaving_percent: float = 0.0

    def arguments(self, port: int, key: str | None) -> list[str]:
        """Its command line."""
        words = ["-p", str(port), "-c", str(self.connections), "-m", self.model]
        words += ["-d", f"{self.window_s:g}", "-w", f"{self.warmup_s:g}"]
        words += ["-s"] * self.streams
        words += [] if self.rate_per_s is None else ["-r", f"{self.rate_per_s:g}"]
        words += ["-R", f"{self.ramp_s:g}"] if self.ramp_s else []
        words += ["-l", f"{self.leaving_percent:g}"] if self.leaving_percent else []
        words += [] if key is None else ["-k", key]
        return words


@dataclass(frozen=True, slots=True)
class Times:
    """A distribution, in microseconds; all but *n* are -1 if it is empty."""

    n: int
    mean: float
    p50: float
    p90: float
    p99: float
    p999: float
    max: float


@dataclass(frozen=True, slots=True)
class Load:
    """What was seen in the window."""

    window_s: float
    ok: int
    bad: int
    """Answers with another status than 200, and streams without their end."""
    errors: int
    """Connections that broke."""
    refused: int
    left: int
    """Streams that were left on purpose."""
    started: int
    """Also before the window."""
    chunks: int
    backlog: int
    """Requests of an open loop that were due and had not begun."""
    statuses: Mapping[str, int]
    latency: Times
    first_chunk: Times
    delivery: Times

    @property
    def requests_per_s(self) -> float:
        return self.ok / self.window_s

    @property
    def chunks_per_s(self) -> float:
        return self.chunks / self.window_s

    @property
    def fault(self) -> str | None:
        """What went wrong, if anything did."""
        wrong = {"bad answers": self.bad, "broken": self.errors, "refused": self.refused}
        said = [f"{n} {what}" for what, n in wrong.items() if n]
        if not (said or self.ok or self.chunks):
            return "no answer at all"
        return ", ".join(said) or None


def parse(text: str) -> Load:
    """What the load generator printed. Raises ValueError and KeyError for anything else."""
    said = json.loads(text)
    return Load(
        window_s=said["secs"],
        ok=said["ok"],
        bad=said["bad"],
        errors=said["err"],
        refused=said["refused"],
        left=said["left"],
        started=said["started"],
        chunks=said["chunks"],
        backlog=said["backlog"],
        statuses=said["statuses"],
        latency=Times(**said["lat"]),
        first_chunk=Times(**said["ttft"]),
        delivery=Times(**said["deliv"]),
    )


@dataclass(frozen=True, slots=True)
class Measured:
    """A load, and what the proxy used in its window."""

    load: Load
    cpu_s: float | None
    """None: there is no proxy."""
    memory: proc.Memory | None
    """Near the end of the window, if it was wanted: to look takes a busy proxy's time."""


_LOOKS_S = 0.1
"""So long before the end of the window the proxy is looked at."""


def put_load(
    lg: Path, ask: Ask, port: int, *, key: str | None, pid: int | None, weigh: bool = False
) -> Measured:
    """Run the load generator on its core, and watch *pid*. Blocks."""
    command = ["taskset", "-c", str(LOAD_CORE), str(lg), *ask.arguments(port, key)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as generator:  # noqa: S603
        time.sleep(ask.warmup_s)
        before_s = None if pid is None else proc.cpu_s(pid)
        watched_s = max(ask.window_s - _LOOKS_S, _LOOKS_S)
        time.sleep(watched_s)
        after_s = None if pid is None else proc.cpu_s(pid)
        held = proc.memory(pid) if weigh and pid is not None else None
        try:
            output, _ = generator.communicate(timeout=GRACE_S)
        except subprocess.TimeoutExpired:
            generator.kill()
            raise
    used_s = None
    if before_s is not None and after_s is not None:
        used_s = (after_s - before_s) * ask.window_s / watched_s
    return Measured(parse(output), used_s, held)
