"""Who may get in: the one owner of users, keys and invitations."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, assert_never

import structlog
import trio
from structlog.contextvars import get_contextvars

from llmlb.accounts import Accounts, Row, Step
from llmlb.actors.mailbox import ActorGone, Ask, Mailbox, MailboxStatistics
from llmlb.errors import LbError

log = structlog.get_logger()

T = TypeVar("T")

CLOSING_WRITE_LIMIT_S = 5.0

Rule = Callable[[Accounts], Step[T]]
"""What is to change, worked out by the owner on what there is; it raises the LbError that
refuses it."""


class AccountStore(Protocol):
    """Where accounts outlive the process."""

    async def change(self, put: Iterable[Row], drop: Iterable[Row]) -> None:
        """Do all of it, durably, or nothing. Raises StoreUnavailable."""
        ...


@dataclass(slots=True, eq=False)
class Change(Ask[Any]):
    rule: Rule[Any]
    logged: Mapping[str, Any] = field(default_factory=get_contextvars)
    """What log entries about it have in common with those of whoever asks: the request's id."""


@dataclass(frozen=True, slots=True)
class Written:
    """The write that *change* needed has ended."""

    change: Change
    step: Step[Any]
    error: LbError | None


@dataclass(frozen=True, slots=True)
class Close:
    """Stop as soon as all that was asked before is done."""


Message = Change | Written | Close


class KeyRing:
    """Owns all accounts; publishes them as a frozen view.

    A change counts, for everybody and at once, when it is in the database: a key that was
    deleted opens nothing from the moment its deletion is answered.
    """

    def __init__(self, store: AccountStore, accounts: Accounts) -> None:
        self._mailbox = Mailbox[Message]()
        self._store, self._accounts = store, accounts
        self._waiting: deque[Change] = deque()
        self._writing = self._closing = False
        self._children: trio.Nursery
        self._until: trio.CancelScope

    @property
    def accounts(self) -> Accounts:
        """The accounts as they are now; a frozen view."""
        return self._accounts

    async def change(self, rule: Rule[T]) -> T:
        """Make a change; durable on return.

        Raises the LbError that *rule* refuses with, StoreUnavailable, ActorGone.
        """
        answer: T = await self._mailbox.ask(Change(rule))
        return answer

    def mailbox_statistics(self) -> MailboxStatistics:
        return self._mailbox.statistics()

    def close(self) -> None:
        """Finish what was asked, then stop. Closing twice is harmless."""
        with suppress(ActorGone):
            self._mailbox.tell(Close())

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.CancelScope() as self._until:
            async with trio.open_nursery() as self._children:
                await self._mailbox.serve(self._handle, task_status=task_status)
        if self._until.cancelled_caught:
            log.warning("the last changes of accounts may not have been saved")

    def _handle(self, message: Message) -> None:
        match message:
            case Change() if self._closing:
                message.reply.refuse(ActorGone())
            case Change():
                self._waiting.append(message)
            case Written():
                self._writing = False
                self._finish(message)
            case Close():
                self._closing = True
                self._until.deadline = trio.current_time() + CLOSING_WRITE_LIMIT_S
            case _:
                assert_never(message)
        self._start_write()
        if self._closing and not self._writing:
            self._mailbox.close()

    def _start_write(self) -> None:
        while self._waiting and not self._writing:
            change = self._waiting.popleft()
            try:
                step = change.rule(self._accounts)
            except LbError as refusal:
                change.reply.refuse(refusal)
                continue
            if not (step.put or step.drop):
                change.reply.answer(step.answer)
                continue
            self._writing = True
            self._children.start_soon(self._write, change, step)

    async def _write(self, change: Change, step: Step[Any]) -> None:
        error = None
        try:
            await self._store.change(step.put, step.drop)
        except LbError as refusal:
            error = refusal
        with suppress(ActorGone):  # the house falls: the next start reads what was written
            self._mailbox.tell(Written(change, step, error))

    def _finish(self, written: Written) -> None:
        step, reply = written.step, written.change.reply
        if written.error is not None:
            log.warning(
                "a change of accounts was not saved",
                reason=str(written.error),
                **written.change.logged,
            )
            reply.refuse(written.error)
            return
        self._accounts = self._accounts.with_changes(put=step.put, drop=step.drop)
        reply.answer(step.answer)
