"""The one place where hypercorn's class of connections is replaced: by one that asks the app."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from inspect import signature
from typing import Any, Protocol, runtime_checkable

import hypercorn.trio.run
import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper

log = structlog.get_logger()

_PLACE = "TCPServer"
"""What hypercorn makes, and awaits, for each connection that it takes."""

_MADE_WITH = ["app", "config", "context", "state", "stream"]


@runtime_checkable
class TakesConnections(Protocol):
    """An application that serves connections itself."""

    def taken(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        stream: trio.SocketStream,
        pass_on: Callable[[trio.abc.HalfCloseableStream], Awaitable[None]],
    ) -> Awaitable[None] | None:
        """What serves a plain-text connection to its end; None: that is hypercorn's.

        *pass_on* has hypercorn serve a stream after all: one that says again what has been read.
        """
        ...


class Taken:
    """One connection that hypercorn has taken, whoever serves it; to be awaited until its end."""

    original: Callable[..., Awaitable[None]]

    def __init__(self, *made_with: Any) -> None:  # noqa: ANN401 - hypercorn's business
        self._made_with = made_with

    def __await__(self) -> Generator[Any, None, None]:
        app, config, context, _, stream = self._made_with
        inner = getattr(app, "app", None)
        ours = None
        if isinstance(inner, TakesConnections) and isinstance(stream, trio.SocketStream):
            ours = inner.taken(app, config, context, stream, self._pass_on)
        return (self._pass_on(stream) if ours is None else ours).__await__()

    async def _pass_on(self, stream: trio.abc.HalfCloseableStream) -> None:
        await type(self).original(*self._made_with[:-1], stream)


def install() -> None:
    """Put ours in its place, if that is as it is known, else log that. As often as one likes."""
    place = getattr(hypercorn.trio.run, _PLACE, None)
    if place is Taken:
        return
    if place is None or list(signature(place).parameters) != _MADE_WITH:
        log.warning("hypercorn is built otherwise, and serves all connections itself")
        return
    Taken.original = place
    setattr(hypercorn.trio.run, _PLACE, Taken)


def uninstall() -> None:
    """Put hypercorn's own back."""
    if getattr(hypercorn.trio.run, _PLACE, None) is Taken:
        setattr(hypercorn.trio.run, _PLACE, Taken.original)
