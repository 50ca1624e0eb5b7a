"""How connections are taken, so that what goes wrong on one of them stays there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from socket import socket

import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGIFramework, LifespanState
from hypercorn.utils import wrap_app

from llmlb.http.wire.connection import Address, Connection, Limits

log = structlog.get_logger()


async def serve(
    app: ASGIFramework,
    config: Config,
    listener: socket,
    limits: Limits,
    *,
    until: Callable[[], Awaitable[None]],
) -> None:
    """Serve *app* on *listener*, bound, until *until* returns; then `graceful_timeout` remains.

    It does what `hypercorn.trio.serve` does, which lets any exception on a connection end them
    all. Raises what the application's lifespan reports.
    """
    wrapped, context = wrap_app(app, 0, "asgi"), WorkerContext(None)
    state: LifespanState = {}
    lifespan = Lifespan(wrapped, config, state)
    async with trio.open_nursery() as living:
        await living.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        listener.listen(config.backlog)
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as listening:
                take = partial(_take, wrapped, config, context, limits)
                accept = partial(trio.serve_listeners, take, listeners, handler_nursery=connections)
                listening.start_soon(accept)
                await until()
                listening.cancel_scope.cancel()
            await context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + config.graceful_timeout
        await lifespan.wait_for_shutdown()
        living.cancel_scope.cancel()


async def _take(
    app: AppWrapper,
    config: Config,
    context: WorkerContext,
    limits: Limits,
    stream: trio.SocketStream,
) -> None:
    """Serve one connection to its end, whatever that is."""
    try:
        client, server = (
            _address(stream.socket.getpeername()),
            _address(stream.socket.getsockname()),
        )
    except OSError:
        return  # it has been closed again
    connection = Connection(app, config, context, stream, limits, client=client, server=server)
    try:
        await connection.run()
    except* Exception as error:  # one client's trouble is not the others'
        log.exception("a connection failed", client=client[0], exc_info=error)


def _address(name: tuple[str, int] | tuple[str, int, int, int]) -> Address:
    return name[0], name[1]
