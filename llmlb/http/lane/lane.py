"""What all connections of the lane share: the application behind them, and the clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext

from llmlb.errors import ShuttingDown
from llmlb.http.lane.clock import LaneClock
from llmlb.http.lane.lines import ServerLines
from llmlb.http.wire.connection import Limits

log = structlog.get_logger()

KNOWN_VERSIONS = frozenset({"0.18.0"})
"""Of hypercorn: those of which all is known that the lane builds on."""

if TYPE_CHECKING:
    from llmlb.http.application import LlmlbApp
    from llmlb.http.exchange import Exchange
    from llmlb.http.intake.reception import Reception


def lane_fits() -> bool:
    """Whether the lane can be on with the hypercorn that is installed; if not, that is logged."""
    installed = version("hypercorn")
    if installed not in KNOWN_VERSIONS:
        log.warning("the lane is off, for this hypercorn is not known", version=installed)
    return installed in KNOWN_VERSIONS


class Lane:
    """The application, as connections of the lane see it, from its start to its end."""

    def __init__(
        self, app: LlmlbApp, reception: Reception, limits: Limits, *, body_limit_s: float
    ) -> None:
        self._app = app
        self.reception, self.limits, self.body_limit_s = reception, limits, body_limit_s
        self.clock = LaneClock()
        self._contexts: set[WorkerContext] = set()
        self._lines: dict[Config, ServerLines] = {}
        self._tasks: trio.Nursery

    @property
    def exchange(self) -> Exchange | None:
        """The core of the inference routes, while there is one."""
        try:
            return self._app.exchange
        except ShuttingDown:
            return None

    @property
    def draining(self) -> bool:
        """Whether what runs is finished, and nothing new begun."""
        return self._app.draining or self.clock.stopping

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Within it, connections can be served."""
        async with trio.open_nursery() as self._tasks:
            self._tasks.start_soon(self.clock.run)
            yield
            self._tasks.cancel_scope.cancel()

    def asked(self) -> float:
        """A request has come in; when that is, by Trio's clock."""
        self._app.asked_at_s = now_s = trio.current_time()
        return now_s

    def lines_of(self, config: Config) -> ServerLines:
        """What *config* adds to every answer, the same for all its connections."""
        return self._lines.get(config) or self._lines.setdefault(config, ServerLines(config))

    def stop_with(self, context: WorkerContext) -> None:
        """Let connections that ask nothing end when the server of *context* stops."""
        if context not in self._contexts:
            self._contexts.add(context)
            self._tasks.start_soon(self._stop_with, context)

    async def _stop_with(self, context: WorkerContext) -> None:
        await context.terminated.wait()
        self.clock.stop_idle()
