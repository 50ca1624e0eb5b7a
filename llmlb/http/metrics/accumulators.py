"""What is counted and measured on the path of a request, and how that looks at a scrape.

The library's own counters and histograms take a lock and build a key for each call, some 20 µs a
request; it is at a scrape alone that their families are needed.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

Labels = tuple[str, ...]


class Sums:
    """Owns one counter: a sum for each set of labels."""

    def __init__(self, name: str, says: str, *labels: str) -> None:
        self._name, self._says, self._labels = name, says, labels
        self._sums: dict[Labels, float] = {} if labels else {(): 0.0}

    def add(self, amount: float, *labels: str) -> None:
        self._sums[labels] = self._sums.get(labels, 0.0) + amount

    def family(self) -> CounterMetricFamily:
        """As it is now."""
        family = CounterMetricFamily(self._name, self._says, labels=self._labels)
        for labels, total in self._sums.items():
            family.add_metric(labels, total)
        return family


@dataclass(slots=True)
class _Spread:
    counts: list[int]
    """In each bucket, of those that fit in none smaller; the last is for what fits in none."""
    total: float = field(default=0.0)


class Histograms:
    """Owns one histogram for each set of labels."""

    def __init__(self, name: str, says: str, bounds: Sequence[float], *labels: str) -> None:
        """*bounds* are the largest values of the buckets, in order."""
        self._name, self._says, self._labels = name, says, labels
        self._bounds = tuple(bounds)
        self._said = [_said(bound) for bound in (*bounds, math.inf)]
        self._spreads: dict[Labels, _Spread] = {}
        if not labels:
            self._begin(())

    def add(self, value: float, *labels: str) -> None:
        spread = self._spreads.get(labels) or self._begin(labels)
        spread.counts[bisect_left(self._bounds, value)] += 1
        spread.total += value

    def family(self) -> HistogramMetricFamily:
        """As it is now."""
        family = HistogramMetricFamily(self._name, self._says, labels=self._labels)
        for labels, spread in self._spreads.items():
            cumulative = accumulate(spread.counts)
            buckets = [
                (bound, float(count)) for bound, count in zip(self._said, cumulative, strict=True)
            ]
            family.add_metric(labels, buckets, spread.total)
        return family

    def _begin(self, labels: Labels) -> _Spread:
        spread = self._spreads[labels] = _Spread([0] * len(self._said))
        return spread


def _said(bound: float) -> str:
    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]
