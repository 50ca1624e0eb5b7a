"""What is still to be written of the request history, and when that is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

import structlog
import trio

from llmlb.actors.history.upkeep import HistoryStore, Keeping, prune_for_ever
from llmlb.actors.history.waiting import Waiting
from llmlb.actors.mailbox import ActorGone, Ask, Mailbox, MailboxStatistics
from llmlb.actors.pauses import Pauses
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


@dataclass(frozen=True, slots=True)
class Due:
    """The burst has gathered for long enough."""


@dataclass(frozen=True, slots=True)
class Written:
    requests: int
    error: LbError | None


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
        self._timer: trio.CancelScope | None = None
        self._flushes: list[Flush] = []
        self._pauses = Pauses()
        self._writes: trio.Nursery
        self._others: trio.Nursery

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
            async with (
                trio.open_nursery() as self._writes,
                trio.open_nursery() as self._others,
            ):
                self._others.start_soon(prune_for_ever, self._store, self._keeping, self._now)
                await self._mailbox.serve(self._handle, task_status=task_status)
                closing.deadline = trio.current_time() + CLOSING_WRITE_LIMIT_S
                self._others.cancel_scope.cancel()
            # A write that was under way has ended: it was that nursery's child.
            while self._waiting and error is None:
                error = await self._try(self._waiting.take(MOST_IN_BURST))
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
                self._set_timer(WRITE_BEHIND_S)
            case Flush():
                self._flushes.append(message)
                self._start_write()
            case Hurry():
                self._start_write()
            case Due():
                self._timer = None
                self._start_write()
            case Written(requests, error):
                self._finish_write(requests, error)
            case _:
                assert_never(message)

    def _set_timer(self, seconds: float) -> None:
        if self._timer is None and not self._in_flight:
            self._timer = trio.CancelScope()
            self._others.start_soon(self._wait, self._timer, seconds)

    async def _wait(self, timer: trio.CancelScope, seconds: float) -> None:
        with timer:
            await trio.sleep(seconds)
            with suppress(ActorGone):
                self._mailbox.tell(Due())

    def _start_write(self) -> None:
        if self._in_flight:
            return
        if not self._waiting:
            self._answer_flushes(worked=True)
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        burst = self._waiting.take(MOST_IN_BURST)
        self._in_flight = len(burst)
        self._writes.start_soon(self._write, burst)

    async def _write(self, burst: Sequence[RequestRecord]) -> None:
        error = await self._try(burst)
        with suppress(ActorGone):
            self._mailbox.tell(Written(len(burst), error))

    async def _try(self, burst: Sequence[RequestRecord]) -> LbError | None:
        """Write *burst*; where that fails, or is cancelled, it goes on waiting."""
        written = False
        try:
            await self._store.write(burst)
            written = True
        except LbError as error:
            return error
        finally:
            if not written:
                self._waiting.put_back(burst)
        return None

    def _finish_write(self, requests: int, error: LbError | None) -> None:
        self._in_flight = 0
        if error is not None:
            if not self._pauses.failing:
                log.warning("the request history could not be written and waits", reason=str(error))
            self._answer_flushes(worked=False)
            self._set_timer(self._pauses.after_failure())
            return
        self._written += requests
        if self._pauses.failing:
            log.info("the request history is written again", dropped=self._waiting.dropped)
        self._pauses.after_success()
        self._dropping = False
        if self._flushes or len(self._waiting) >= MOST_IN_BURST:
            self._start_write()
        elif self._waiting:
            self._set_timer(WRITE_BEHIND_S)

    def _tell_dropped(self, *, since: int) -> None:
        """Say so once, until some are written again."""
        if self._waiting.dropped > since and not self._dropping:
            self._dropping = True
            log.error("requests are missing from the history: too many wait, and the oldest go")

    def _answer_flushes(self, *, worked: bool) -> None:
        flushes, self._flushes = self._flushes, []
        for flush in flushes:
            flush.reply.answer(worked)
