"""How many requests of each model were completed in the last minute."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

WINDOW_S = 60


class Throughput:
    """Owns a minute of completions per model, in one-second buckets."""

    def __init__(self) -> None:
        self._buckets: dict[str, deque[tuple[int, int]]] = {}

    def completed(self, model: str, now_s: float) -> None:
        second = int(now_s)
        buckets = self._buckets.setdefault(model, deque())
        self._expire(buckets, now_s)
        if buckets and buckets[-1][0] == second:
            buckets[-1] = (second, buckets[-1][1] + 1)
        else:
            buckets.append((second, 1))

    def per_s(self, model: str, now_s: float) -> float:
        """Completions per second over the last 60 s."""
        buckets = self._buckets.get(model)
        if buckets is None:
            return 0.0
        self._expire(buckets, now_s)
        if not buckets:
            del self._buckets[model]
            return 0.0
        return sum(count for _, count in buckets) / WINDOW_S

    def retain(self, offered: Callable[[str], bool], now_s: float) -> None:
        """Forget models that nobody offers any more, and names that nobody used for a minute."""
        for model, buckets in list(self._buckets.items()):
            self._expire(buckets, now_s)
            if not (buckets and offered(model)):
                del self._buckets[model]

    @staticmethod
    def _expire(buckets: deque[tuple[int, int]], now_s: float) -> None:
        while buckets and buckets[0][0] <= now_s - WINDOW_S:
            buckets.popleft()
