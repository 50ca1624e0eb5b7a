"""Mailboxes: how any task talks to the one task that owns a piece of state."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

import outcome
import trio

T = TypeVar("T")
M = TypeVar("M")


class ActorGone(Exception):
    """The owner of this mailbox has stopped; nobody will answer."""


class Reply(Generic[T]):
    """One answer, owed to one waiting caller."""

    __slots__ = ("_waiter",)

    def __init__(self) -> None:
        self._waiter: trio.lowlevel.Task | None = None

    @property
    def wanted(self) -> bool:
        """False once the caller has given up, or has been answered."""
        return self._waiter is not None

    def answer(self, value: T) -> bool:
        """Deliver *value*. False if the caller has given up: keep the value."""
        return self._settle(outcome.Value(value))

    def refuse(self, error: Exception) -> bool:
        """Raise *error* in the caller. False if the caller has given up."""
        return self._settle(outcome.Error(error))

    def _settle(self, result: outcome.Outcome[T]) -> bool:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            trio.lowlevel.reschedule(waiter, result)
        return waiter is not None

    async def wait(self) -> T:
        """Park until answered. Raises what `refuse` was given."""

        def give_up(_: object) -> trio.lowlevel.Abort:
            # Runs at the very instant of cancellation. A `finally` would run one scheduler
            # pass later, and an answer given in between would be lost: that is why the
            # reply is neither an Event nor a channel with a buffer.
            self._waiter = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._waiter = trio.lowlevel.current_task()
        return cast("T", await trio.lowlevel.wait_task_rescheduled(give_up))


@dataclass(slots=True, eq=False)
class Ask(Generic[T]):
    """Base of every message that is owed an answer of type T."""

    reply: Reply[T] = field(default_factory=Reply, init=False, repr=False)


@dataclass(frozen=True, slots=True)
class MailboxStatistics:
    """How full a mailbox is, and was at its fullest, in messages."""

    waiting: int
    high_water: int


class Mailbox(Generic[M]):
    """All that others hold of an actor. Telling never blocks, so it never deadlocks.

    Unbounded by design: each entry belongs to a live exchange, probe or operator's call. The
    high-water mark is kept so that this claim can be checked.
    """

    def __init__(self) -> None:
        self._send: trio.MemorySendChannel[M]
        self._receive: trio.MemoryReceiveChannel[M]
        self._send, self._receive = trio.open_memory_channel(math.inf)
        self._owed: set[Reply[Any]] = set()
        self._waiting = self._high_water = 0  # counted here: to ask the channel costs more

    def tell(self, message: M) -> None:
        """Put *message* in. Works in `finally` and while cancelled. Raises ActorGone."""
        try:
            self._send.send_nowait(message)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ActorGone from None
        self._waiting += 1

    async def ask(self, request: Ask[T]) -> T:
        """Put *request* in and wait for its answer. Raises ActorGone. Cancel to give up."""
        self.tell(cast("M", request))
        self._owed.add(request.reply)
        try:
            return await request.reply.wait()  # parks before any other task can run
        finally:
            self._owed.discard(request.reply)

    async def serve(
        self,
        handle: Callable[[M], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Own the state behind *handle*: one message at a time, until closed."""
        try:
            with self._receive as inbox:
                task_status.started()
                async for message in inbox:
                    waiting = self._waiting
                    self._high_water = max(self._high_water, waiting)
                    self._waiting -= 1
                    handle(message)
                    for _ in range(waiting - 1):  # the rest of the burst, no checkpoint each
                        self._waiting -= 1
                        handle(inbox.receive_nowait())
        finally:
            for reply in tuple(self._owed):
                reply.refuse(ActorGone())

    def close(self) -> None:
        """Let the owner finish what it has been told, then stop."""
        self._send.close()

    def statistics(self) -> MailboxStatistics:
        """A frozen count of what waits inside."""
        waiting = self._receive.statistics().current_buffer_used
        return MailboxStatistics(waiting, max(waiting, self._high_water))
