"""What is still to be written of the request history, and when that is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

import structlog
import trio

from llmlb.actors.history.upkeep import HistoryStore, Keeping, prune_for_ever
from llmlb.actors.history.waiting import Waiting
from llmlb.actors.mailbox import Ask, Mailbox, MailboxStatistics
from llmlb.actors.write_schedule import Due, WriteSchedule, Written
from llmlb.errors import LbError
from llmlb.records import RequestRecord

log = structlog.get_logger()

WRITE_BEHIND_S = 0.5
"""How long a burst gathers."""

MOST_IN_BURST = 200
"""In one transaction, which holds up the database for less than 100 ms."""

CLOSING_WRITE_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True)
class HistoryStatistics:
    """What waits to be written, and what became of the rest since the start, in requests."""

    waiting: int
    waiting_bytes: int
    written: int
    dropped: int
    """They waited, and there were too many of them."""


@dataclass(slots=True, eq=False)
class Flush(Ask[bool]):
    """Write now; answered with whether all could be written."""


@dataclass(frozen=True, slots=True)
class Hurry:
    """The store takes writes again."""


Message = RequestRecord | Flush | Hurry | Due | Written


class History:
    """Owns the records that are not in the history yet.

    Writes behind, in bursts, and tries again for as long as the store refuses; what waits is
    bounded, and the oldest goes first. A record costs its exchange one message.
    """

    def __init__(
        self, store: HistoryStore, *, keeping: Keeping, now: Callable[[], datetime]
    ) -> None:
        self._mailbox = Mailbox[Message]()
        self._store, self._keeping, self._now = store, keeping, now
        self._waiting = Waiting()
        self._in_flight = 0
        """So many are being written; 0: nothing is."""
        self._written = 0
        self._dropping = False
        """It has been told that requests are missing."""
        self._schedule = WriteSchedule(
            after_s=WRITE_BEHIND_S,
            tell=self._mailbox.tell,
            waiting=lambda: bool(self._waiting),
            write=self._write,
            full=lambda: len(self._waiting) >= MOST_IN_BURST,
            told=(
                "the request history could not be written and waits",
                "the request history is written again",
            ),
            figures=lambda: {"dropped": self._waiting.dropped},
        )

    def record(self, record: RequestRecord) -> None:
        self._mailbox.tell(record)

    def hurry(self) -> None:
        """Write what was refused without waiting for the end of the pause."""
        self._mailbox.tell(Hurry())

    async def flush(self) -> bool:
        """Write what there is; False if the store refused. Raises ActorGone."""
        return await self._mailbox.ask(Flush())

    def statistics(self) -> HistoryStatistics:
        """A frozen count."""
        waiting = len(self._waiting) + self._in_flight
        return HistoryStatistics(
            waiting, self._waiting.n_bytes, self._written, self._waiting.dropped
        )

    def mailbox_statistics(self) -> MailboxStatistics:
        return self._mailbox.statistics()

    def close(self) -> None:
        """Write what was told, then stop."""
        self._mailbox.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        error: LbError | None = None
        with trio.CancelScope() as closing:
            async with trio.open_nursery() as writes, trio.open_nursery() as others:
                self._schedule.begin(others, writes)
                others.start_soon(prune_for_ever, self._store, self._keeping, self._now)
                await self._mailbox.serve(self._handle, task_status=task_status)
                closing.deadline = trio.current_time() + CLOSING_WRITE_LIMIT_S
                others.cancel_scope.cancel()
            # A write that was under way has ended: it was that nursery's child.
            while self._waiting and error is None:
                error = await self._write()
        if self._waiting:
            reason = error or f"no answer within {CLOSING_WRITE_LIMIT_S:.0f} s"
            log.error(
                "the end of the request history was lost",
                requests=len(self._waiting),
                reason=str(reason),
            )

    def _handle(self, message: Message) -> None:
        match message:
            case RequestRecord():
                dropped = self._waiting.dropped
                self._waiting.add(message)
                self._tell_dropped(since=dropped)
                self._schedule.gather()
            case Flush():
                self._schedule.flush(message)
            case Hurry():
                self._schedule.hurry()
            case Due() | Written():
                self._schedule.handle(message)
            case _:
                assert_never(message)

    async def _write(self) -> LbError | None:
        """Write a burst; where that fails, or is cancelled, it goes on waiting."""
        burst = self._waiting.take(MOST_IN_BURST)
        self._in_flight, written = len(burst), False
        try:
            await self._store.write(burst)
            written = True
        except LbError as error:
            return error
        finally:
            self._in_flight = 0
            if not written:
                self._waiting.put_back(burst)
        self._written += len(burst)
        self._dropping = False
        return None

    def _tell_dropped(self, *, since: int) -> None:
        """Say so once, until some are written again."""
        if self._waiting.dropped > since and not self._dropping:
            self._dropping = True
            log.error("requests are missing from the history: too many wait, and the oldest go")
