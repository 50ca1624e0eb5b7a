"""When what waits is written: after a while, one burst at a time, and again after a refusal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog
import trio

from llmlb.actors.mailbox import ActorGone, Ask
from llmlb.actors.pauses import Pauses

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Due:
    """What waits has gathered for long enough."""


@dataclass(frozen=True, slots=True)
class Written:
    error: Exception | None


class WriteSchedule:
    """Owns the time of an actor's next write, and those who asked for it.

    What is written is the actor's own. It hands on the messages of this class.
    """

    def __init__(
        self,
        *,
        after_s: float,
        tell: Callable[[Due | Written], None],
        waiting: Callable[[], bool],
        write: Callable[[], Awaitable[Exception | None]],
        full: Callable[[], bool] = lambda: False,
        told: tuple[str, str],
        figures: Callable[[], dict[str, object]] = dict,
    ) -> None:
        """*write* takes a burst of what is *waiting* and writes it, or keeps it and says why not.

        What is *full* is written without gathering any longer. *told* are the words of the log
        for a store that refuses, and for one that is well again; with them go the *figures*.
        """
        self._after_s, self._tell = after_s, tell
        self._is_waiting, self._write, self._is_full = waiting, write, full
        self._refused, self._well_again = told
        self._figures = figures
        self._pauses = Pauses()
        self._timer: trio.CancelScope | None = None
        self._writing = False
        self._flushes: list[Ask[bool]] = []
        self._timers: trio.Nursery
        self._writes: trio.Nursery

    def begin(self, timers: trio.Nursery, writes: trio.Nursery) -> None:
        """Timers, which may be cancelled at any moment, and writes run in these from now on."""
        self._timers, self._writes = timers, writes

    def gather(self) -> None:
        """There is something new, to be written soon."""
        self._set_timer(self._after_s)

    def hurry(self) -> None:
        """Write what there is, without waiting for more or for the end of a pause."""
        if self._writing:
            return
        if not self._is_waiting():
            self._answer_flushes(worked=True)
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._writing = True
        self._writes.start_soon(self._work)

    def flush(self, asked: Ask[bool]) -> None:
        """The same; *asked* is answered with whether all could be written."""
        self._flushes.append(asked)
        self.hurry()

    def handle(self, message: Due | Written) -> None:
        """What this class has told the actor."""
        if isinstance(message, Due):
            self._timer = None
            self.hurry()
        else:
            self._writing = False
            self._finish(message.error)

    def _finish(self, error: Exception | None) -> None:
        if error is not None:
            if not self._pauses.failing:
                log.warning(self._refused, reason=str(error))
            self._answer_flushes(worked=False)
            self._set_timer(self._pauses.after_failure())
            return
        if self._pauses.failing:
            log.info(self._well_again, **self._figures())
        self._pauses.after_success()
        if self._flushes or self._is_full():
            self.hurry()  # what came while the write was under way
        elif self._is_waiting():
            self._set_timer(self._after_s)

    def _set_timer(self, seconds: float) -> None:
        if self._timer is None and not self._writing:
            self._timer = trio.CancelScope()
            self._timers.start_soon(self._wait, self._timer, seconds)

    async def _wait(self, timer: trio.CancelScope, seconds: float) -> None:
        with timer:
            await trio.sleep(seconds)
            with suppress(ActorGone):
                self._tell(Due())

    async def _work(self) -> None:
        error = await self._write()
        with suppress(ActorGone):
            self._tell(Written(error))

    def _answer_flushes(self, *, worked: bool) -> None:
        flushes, self._flushes = self._flushes, []
        for flush in flushes:
            flush.reply.answer(worked)
