"""What is done to the stored chain beside appending to it: it is checked and pruned, bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog
import trio

from llmlb.audit import AuditEvent, Link
from llmlb.audit_check import ChainCheck, Verification
from llmlb.errors import LbError

log = structlog.get_logger()

PRUNE_EVERY_S = 3600.0

BREATH_S = 0.01
"""Between two chunks, for others who wait for the database."""


class AuditStore(Protocol):
    """Where the chain outlives the process. All of it raises StoreUnavailable."""

    async def append(self, after: Link, events: Sequence[AuditEvent]) -> Link:
        """Write all of it or nothing, in bounded time, and return its end. Raises ChainMoved.

        Cancelled, it has written nothing.
        """
        ...

    async def check_some(self, check: ChainCheck) -> bool:
        """Let *check* have the next chunk; whether there is more."""
        ...

    async def prune(self, older_than: datetime | None, most: int) -> int:
        """Delete a chunk of what is too old or too much; how many entries that was."""
        ...


@dataclass(frozen=True, slots=True)
class Retention:
    """How long entries are kept, and how many. 0 days: however old they are."""

    days: int
    entries: int


async def check_whole(store: AuditStore, known: Link) -> Verification:
    """Check the chain, which has to pass what is *known* of it. Raises StoreUnavailable."""
    check = ChainCheck(known)
    more = True
    while more:
        more = await store.check_some(check)
        await trio.sleep(BREATH_S)
    return check.result()


async def prune_for_ever(
    store: AuditStore, retention: Retention, now: Callable[[], datetime]
) -> None:
    """Delete every hour what is too old or too much, until cancelled."""
    while True:
        older_than = now() - timedelta(days=retention.days) if retention.days else None
        try:
            pruned = 1
            while pruned:
                pruned = await store.prune(older_than, retention.entries)
                await trio.sleep(BREATH_S)
        except LbError as error:
            log.warning("old audit entries could not be deleted", reason=str(error))
        await trio.sleep(PRUNE_EVERY_S)
