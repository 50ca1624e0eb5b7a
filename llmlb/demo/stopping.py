"""When the demonstration has to end: its signals, and children that died by themselves."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any, Self

import trio

from llmlb.demo.children import Child

LOOK_EVERY_S = 0.1

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DemoFailed(Exception):
    """The demonstration cannot go on. str(error) says why and what to do."""


class StopRequests:
    """Owns the handlers of the signals that end us, for as long as it is entered.

    Plain handlers rather than trio's receiver: they also hold while the children are being
    ended, so that a second Ctrl-C leaves none behind.
    """

    def __init__(self) -> None:
        self.received = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        self.received = True


async def until_stopped(stop: StopRequests, children: Sequence[Child]) -> None:
    """Return when a signal has come. Raises DemoFailed when a child has ended by itself.

    *children* may grow meanwhile. Looks at them ten times a second: plain, and soon enough
    for people.
    """
    while True:
        if stop.received:
            return
        raise_if_one_died(children)
        await trio.sleep(LOOK_EVERY_S)


def raise_if_one_died(children: Sequence[Child]) -> None:
    """Raises DemoFailed with the last lines of its log."""
    for child in children:
        code = child.exit_code()
        if code is not None:
            how = f"exit code {code}" if code >= 0 else f"signal {-code}"
            lines = "".join(f"\n  | {line}" for line in child.last_lines())
            raise DemoFailed(
                f"{child.name} (process {child.pid}) has ended by itself with {how}. "
                f"The end of its log, {child.log}:{lines or ' it is empty.'}"
            )
