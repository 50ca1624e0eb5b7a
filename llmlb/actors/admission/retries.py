"""How many requests may be tried again at the same time."""

from __future__ import annotations

LEAST_RETRIES = 3
"""So many are always allowed."""

IN_FLIGHT_PER_RETRY = 5
"""One more for as many requests in flight: a fifth of them."""


class RetryBudget:
    """Owns the leases of requests that failed elsewhere and have not begun to be answered.

    A retry whose answer has begun is a request like any other: it adds no load to a fleet in
    trouble, and a stream of minutes must not keep others from being tried again.
    """

    def __init__(self) -> None:
        self._retrying: set[int] = set()

    def __len__(self) -> int:
        return len(self._retrying)

    def allows(self, in_flight: int) -> bool:
        """Whether one more request may be tried again, with *in_flight* leases out in all."""
        return len(self._retrying) < max(LEAST_RETRIES, in_flight // IN_FLIGHT_PER_RETRY)

    def take(self, serial: int) -> None:
        """Lease *serial* is for a request that failed elsewhere."""
        self._retrying.add(serial)

    def settle(self, serial: int) -> None:
        """Lease *serial* is over, or its answer has begun."""
        self._retrying.discard(serial)
