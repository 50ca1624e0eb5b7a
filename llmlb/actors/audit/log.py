"""Where the chain of audit entries ends, what is still to be written, and when it is checked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

import structlog
import trio

from llmlb.actors.audit.repeats import Repeats
from llmlb.actors.audit.upkeep import AuditStore, Retention, check_whole, prune_for_ever
from llmlb.actors.audit.waiting import FAILURES, Waiting
from llmlb.actors.mailbox import ActorGone, Ask, Mailbox, MailboxStatistics
from llmlb.actors.write_schedule import Due, WriteSchedule, Written
from llmlb.audit import ActorType, AuditEvent, ChainMoved, Link
from llmlb.audit_check import Verification
from llmlb.errors import LbError

log = structlog.get_logger()

WRITE_BEHIND_S = 0.5
"""How long a burst gathers."""

MOST_IN_BURST = 1000
CLOSING_WRITE_LIMIT_S = 5.0

CHECK_EVERY_S = 24 * 3600.0

TAMPERED = "audit.tampered"


@dataclass(frozen=True, slots=True)
class Record:
    event: AuditEvent


@dataclass(frozen=True, slots=True)
class Hurry:
    """The store takes writes again."""


@dataclass(frozen=True, slots=True)
class RepeatsDue:
    """The minute of a group of failures is over."""


@dataclass(frozen=True, slots=True)
class CheckDue:
    """The chain has not been checked for a day, or not since the start."""


@dataclass(frozen=True, slots=True)
class Checked:
    outcome: Verification | LbError


@dataclass(slots=True, eq=False)
class Verify(Ask[Verification]):
    """Check the chain from now on; an earlier check does not count."""


Message = Record | Hurry | Due | RepeatsDue | Written | CheckDue | Checked | Verify


class AuditLog:
    """Owns the end of the chain, and the events that are not in it yet.

    Writes behind, in bursts, and tries again for as long as the store refuses. Since it knows what
    it wrote last, whoever changes the chain behind its back is found by the next write.
    """

    def __init__(
        self,
        store: AuditStore,
        end: Link,
        *,
        retention: Retention,
        now: Callable[[], datetime],
        clock: Callable[[], float] = trio.current_time,
        on_broken: Callable[[str], None] = lambda _: None,
    ) -> None:
        """*end* is the last entry written; *on_broken* is told why the chain is not whole."""
        self._mailbox = Mailbox[Message]()
        self._store, self._retention = store, retention
        self._now, self._clock, self._on_broken = now, clock, on_broken
        self._end = end
        self._waiting, self._repeats = Waiting(), Repeats()
        self._schedule = WriteSchedule(
            after_s=WRITE_BEHIND_S,
            tell=self._mailbox.tell,
            waiting=lambda: bool(self._waiting),
            write=self._write,
            full=lambda: len(self._waiting) >= MOST_IN_BURST,
            told=(
                "audit events could not be written and wait",
                "audit events are written again",
            ),
        )
        self._repeats_timer = False
        self._checking: list[Verify] | None = None
        self._asked: list[Verify] = []
        self._others: trio.Nursery

    def record(self, event: AuditEvent) -> None:
        self._mailbox.tell(Record(event))

    def hurry(self) -> None:
        """Write what was refused without waiting for the end of the pause."""
        self._mailbox.tell(Hurry())

    async def verify(self) -> Verification:
        """Check the whole chain, which may take a minute. Raises StoreUnavailable, ActorGone."""
        return await self._mailbox.ask(Verify())

    @property
    def backlog(self) -> int:
        """How many events wait to be written."""
        return len(self._waiting)

    def mailbox_statistics(self) -> MailboxStatistics:
        return self._mailbox.statistics()

    def close(self) -> None:
        """Write what was told, then stop."""
        self._mailbox.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        error: Exception | None = None
        with trio.CancelScope() as closing:
            async with trio.open_nursery() as writes, trio.open_nursery() as self._others:
                self._schedule.begin(self._others, writes)
                self._others.start_soon(self._remind)
                self._others.start_soon(prune_for_ever, self._store, self._retention, self._now)
                await self._mailbox.serve(self._handle, task_status=task_status)
                closing.deadline = trio.current_time() + CLOSING_WRITE_LIMIT_S
                self._others.cancel_scope.cancel()
            # A write that was under way has ended: it was that nursery's child.
            for event in self._repeats.rest():
                self._waiting.add(event)
            while self._waiting and not isinstance(error, LbError):
                error = await self._write()
        if self._waiting:
            reason = error or f"no answer within {CLOSING_WRITE_LIMIT_S:.0f} s"
            log.error("audit events were lost", events=len(self._waiting), reason=str(reason))

    def _handle(self, message: Message) -> None:
        match message:
            case Record(event):
                self._take(event)
            case Hurry():
                self._schedule.hurry()
            case RepeatsDue():
                self._repeats_timer = False
                self._count_repeats()
            case Due() | Written():
                self._schedule.handle(message)
            case CheckDue():
                self._start_check()
            case Checked(outcome):
                self._finish_check(outcome)
            case Verify():
                self._asked.append(message)
                self._start_check()
            case _:
                assert_never(message)

    # -- what it is told

    def _take(self, event: AuditEvent) -> None:
        if event.action in FAILURES:
            self._count_repeats()
            first = self._repeats.take(event, self._clock())
            self._set_repeats_timer()
            if first is None:
                return
        self._add(event)

    def _add(self, event: AuditEvent) -> None:
        self._waiting.add(event)
        self._schedule.gather()

    def _count_repeats(self) -> None:
        for event in self._repeats.due(self._clock()):
            self._add(event)
        self._set_repeats_timer()

    def _set_repeats_timer(self) -> None:
        due_s = self._repeats.next_due_s
        if due_s is not None and not self._repeats_timer:
            self._repeats_timer = True
            self._others.start_soon(self._tell_after, due_s - self._clock(), RepeatsDue())

    async def _tell_after(self, seconds: float, message: Message) -> None:
        await trio.sleep(max(seconds, 0))
        with suppress(ActorGone):
            self._mailbox.tell(message)

    # -- writing

    async def _write(self) -> Exception | None:
        """Write one burst. What fails is kept here: its message may find nobody any more."""
        burst = self._waiting.take(MOST_IN_BURST, self._now())
        try:
            self._end = await self._store.append(self._end, burst)
        except ChainMoved as moved:
            reason = (
                f"The chain ended with entry {self._end.sequence}, and ends with entry "
                f"{moved.found.sequence} now: somebody else has written to it."
            )
            event = AuditEvent(self._now(), TAMPERED, ActorType.SYSTEM, detail=reason)
            self._end = moved.found
            self._waiting.put_back([event, *burst])
            self._tell_broken(reason)
            return moved
        except LbError as error:
            self._waiting.put_back(burst)
            return error
        except trio.Cancelled:
            self._waiting.put_back(burst)  # to be counted among what is lost
            raise
        return None

    # -- checking

    async def _remind(self) -> None:
        with suppress(ActorGone):
            while True:
                self._mailbox.tell(CheckDue())
                await trio.sleep(CHECK_EVERY_S)

    def _start_check(self) -> None:
        if self._checking is None:
            self._checking, self._asked = self._asked, []
            self._others.start_soon(self._check, self._end)

    async def _check(self, known: Link) -> None:
        outcome: Verification | LbError
        try:
            outcome = await check_whole(self._store, known)
        except LbError as error:
            outcome = error
        with suppress(ActorGone):
            self._mailbox.tell(Checked(outcome))

    def _finish_check(self, outcome: Verification | LbError) -> None:
        asked, self._checking = self._checking or [], None
        for request in asked:
            if isinstance(outcome, LbError):
                request.reply.refuse(outcome)
            else:
                request.reply.answer(outcome)
        if isinstance(outcome, LbError):
            log.warning("the audit log could not be checked", reason=str(outcome))
        elif not outcome.valid:
            self._tell_broken(outcome.message)
        if self._asked:
            self._start_check()

    def _tell_broken(self, reason: str) -> None:
        log.error("the audit log was tampered with", reason=reason)
        self._on_broken(reason)
