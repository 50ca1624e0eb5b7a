"""The figures of a run: what each is called, what was found, and what they come to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

Figures = dict[str, float]
"""By name, see FIGURES; one that is not there was not measured, or not to be trusted."""

DIRECT, LLMLB = "direct", "llmlb"


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that is measured of every contender."""

    title: str
    unit: str
    digits: int = 0
    scale: float = 1.0
    """From the unit that is stored to that which is shown."""
    added: bool = False
    """What is shown is the difference to direct, in the same round."""


FIGURES: Mapping[str, Figure] = {
    "plain_rps": Figure("requests/s, 32 connections", "/s"),
    "plain_cpu_us": Figure("CPU per request", "µs"),
    "latency_p50_us": Figure("added p50 at 50 requests/s", "ms", 2, 1e-3, added=True),
    "latency_p99_us": Figure("added p99 at 50 requests/s", "ms", 2, 1e-3, added=True),
    "fast_chunks_per_s": Figure("chunks/s, 256 streams", "/s"),
    "fast_first_p50_us": Figure("first token, added p50", "ms", 2, 1e-3, added=True),
    "fast_first_p99_us": Figure("first token, added p99", "ms", 2, 1e-3, added=True),
    "fast_delay_p99_us": Figure("chunk delay p99", "ms", 2, 1e-3),
    "fast_cpu_us": Figure("CPU per chunk", "µs", 1),
    "many_chunks_per_s": Figure("chunks/s, 1,000 streams", "/s"),
    "many_delay_p99_us": Figure("chunk delay p99, 1,000 streams", "ms", 2, 1e-3),
    "idle_pss_bytes": Figure("PSS idle", "MB", 1, 1e-6),
    "idle_rss_bytes": Figure("RSS idle", "MB", 1, 1e-6),
    "open_pss_bytes": Figure("PSS, 1,000 streams", "MB", 1, 1e-6),
    "open_rss_bytes": Figure("RSS, 1,000 streams", "MB", 1, 1e-6),
    "start_s": Figure("start to first answer", "s", 2),
    "start_large_s": Figure("start with a large database", "s", 2),
}


@dataclass(slots=True)
class Results:
    """What is written down after a run, and read for the report."""

    quick: bool
    window_s: float
    machine: dict[str, str]
    versions: dict[str, str] = field(default_factory=dict)
    """Of all that took part, in order."""
    about: dict[str, str] = field(default_factory=dict)
    commands: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    """Who did not take part, and why."""
    rounds: list[dict[str, Figures]] = field(default_factory=list)
    """By contender, one after the other."""
    faults: list[str] = field(default_factory=list)
    """What answered with errors, and when: such figures are left out."""
    proofs: int = 0
    """So many times llmlb has shown what it does."""
    growth: list[dict[str, float]] = field(default_factory=list)
    """`endpoints`, `models`, `cpu_us` per request."""
    large: dict[str, float] = field(default_factory=dict)
    """`keys` and `rows` of the large database."""

    @property
    def names(self) -> list[str]:
        return list(self.versions)

    def values(self, name: str, figure: str) -> list[float]:
        """*figure* of one contender in each round, in the unit in which it is shown."""
        shown = FIGURES[figure]
        found = []
        for of in self.rounds:
            value = of.get(name, {}).get(figure)
            base = of.get(DIRECT, {}).get(figure) if shown.added else 0.0
            if value is not None and base is not None:
                found.append((value - base) * shown.scale)
        return found

    def median(self, name: str, figure: str) -> float | None:
        """None: it was never measured."""
        return middle(self.values(name, figure))

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1))


def load(path: Path) -> Results:
    """What `save` wrote."""
    said: dict[str, Any] = json.loads(path.read_text())
    return Results(**said)


def middle(values: Iterable[float]) -> float | None:
    """The median; None of nothing."""
    found = list(values)
    return median(found) if found else None
