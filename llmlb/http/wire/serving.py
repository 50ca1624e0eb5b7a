"""How hypercorn's connections become ours, so that what goes wrong on one of them stays there."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import hypercorn.trio.run
import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState

from llmlb.http.wire.connection import Address, Connection, Limits

log = structlog.get_logger()

_PLACE = "TCPServer"
"""What hypercorn makes, and awaits, for each connection that it takes."""


@contextmanager
def connections_of_ours(limits: Limits) -> Iterator[None]:
    """Within it, `hypercorn.trio.serve` has each connection served by a `Connection`.

    Its own lets an exception on one connection end them all. There is no public way to put
    another one in its place; a hypercorn that is built otherwise fails here, at once.
    """
    original: Callable[..., Any] = getattr(hypercorn.trio.run, _PLACE)
    setattr(hypercorn.trio.run, _PLACE, partial(Taken, limits))
    try:
        yield
    finally:
        setattr(hypercorn.trio.run, _PLACE, original)


class Taken:
    """One connection that hypercorn has taken; to be awaited until its end."""

    def __init__(  # noqa: PLR0917 - but for the limits as hypercorn calls it
        self,
        limits: Limits,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        state: ConnectionState,  # noqa: ARG002 - the application keeps none there
        stream: trio.SocketStream,
    ) -> None:
        """There is no TLS, so *stream* is the socket's own."""
        self._limits = limits
        self._app, self._config, self._context = app, config, context
        self._stream = stream

    def __await__(self) -> Generator[Any, None, None]:
        return self._serve().__await__()

    async def _serve(self) -> None:
        """Serve the connection to its end, whatever that is."""
        socket = self._stream.socket
        try:
            client, server = _address(socket.getpeername()), _address(socket.getsockname())
        except OSError:
            return  # it has been closed again
        connection = Connection(
            self._app,
            self._config,
            self._context,
            self._stream,
            self._limits,
            client=client,
            server=server,
        )
        try:
            await connection.run()
        except* Exception as error:  # one client's trouble is not the others'
            log.exception("a connection failed", client=client[0], exc_info=error)


def _address(name: tuple[str, int] | tuple[str, int, int, int]) -> Address:
    return name[0], name[1]
