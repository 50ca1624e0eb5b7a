"""What the journal asks of the store."""

from __future__ import annotations

from typing import Protocol

from llmlb.accounting import Totals
from llmlb.store.burst import Burst
from llmlb.store.sums import Group, Wanted


class BurstStore(Protocol):
    """Where statistics and whereabouts outlive the process."""

    async def write(self, burst: Burst) -> None:
        """Write all of it or nothing, in bounded time. Raises StoreUnavailable.

        Cancelled, it has written nothing.
        """
        ...

    async def sums(self, wanted: Wanted) -> dict[Group, Totals]:
        """What is written. Raises StoreUnavailable.

        Never while something is being written: whoever comes second waits, and nobody else runs
        between the end of either and what its caller does next.
        """
        ...
