"""`llmlb serve`: bind, limits, signals, the order of draining, and the exit code."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import suppress

import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio import serve as hypercorn_serve

from llmlb.errors import StartupError
from llmlb.http.application import LlmlbApp, create_app
from llmlb.http.heap import give_back_large_blocks
from llmlb.http.logs.logs import SERVER
from llmlb.http.policy import is_loopback
from llmlb.http.premises import CLOSING_LIMIT_S
from llmlb.http.upstream.listener import Listener
from llmlb.http.wire.websocket import MOST_BYTES
from llmlb.settings import Settings

log = structlog.get_logger()

GRACEFUL_S = 2.0
"""For connections that are still open after the drain."""

QUIET_S, QUIET_LIMIT_S = 0.25, 2.0
"""After the drain: so long nobody may ask, or at most this is waited for it."""

EXIT_OK, EXIT_CANNOT_START, EXIT_CRASHED = 0, 1, 70


def run(settings: Settings) -> int:
    """Serve until a signal comes; the exit code says how it ended.

    0: stopped as asked; 1: could not start (one sentence on standard error says why); 70: an
    actor died.
    """
    give_back_large_blocks()
    app = create_app(settings)
    try:
        app.logs.begin(settings)
        listener = _bound(settings.host, settings.port)
        trio.run(_serve, app, settings, listener)
    except StartupError as error:
        return _cannot_start(app, error)
    except BaseExceptionGroup as group:
        # hypercorn wraps what ends it; what the app itself noted is more to the point.
        if app.startup_error is not None:
            return _cannot_start(app, app.startup_error)
        if app.crash is not None:
            return EXIT_CRASHED
        if group.split(KeyboardInterrupt)[1] is None:
            return EXIT_OK
        raise
    return EXIT_OK


def _cannot_start(app: LlmlbApp, error: StartupError) -> int:
    sys.stderr.write(f"llmlb cannot start: {app.logs.redactor.text(str(error))}\n")
    return EXIT_CANNOT_START


async def _serve(app: LlmlbApp, settings: Settings, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    app.listener = Listener(host, port)
    if not is_loopback(host):
        log.warning(
            "other machines can reach this address, and there is no TLS: keys and passwords can be "
            "read on the way, unless a proxy with TLS stands in front of it",
            host=host,
        )
    log.info("starting", url=app.listener.url)
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]  # hypercorn closes it from here on
    config.accesslog = None
    config.errorlog = logging.getLogger(SERVER)
    config.graceful_timeout = GRACEFUL_S
    config.include_server_header = False
    config.websocket_max_message_size = MOST_BYTES
    config.startup_timeout = config.shutdown_timeout = 600
    app.hosted = True
    stopping = trio.Event()

    # Open until the very end: a signal that nobody receives would kill us before the flush.
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        received = aiter(signals)

        async def stop() -> None:
            await _until_drained(app, received, settings.drain_timeout_s)
            stopping.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(_leave_stuck_clients, app, stopping)
            await hypercorn_serve(app, config, shutdown_trigger=stop)
            nursery.cancel_scope.cancel()


async def _leave_stuck_clients(app: LlmlbApp, stopping: trio.Event) -> None:
    """End the process when the server cannot.

    It writes to clients in a shielded scope, so one that neither reads nor closes would hold
    up the shutdown for as long as it may. All that matters is written first.
    """
    await stopping.wait()
    await trio.sleep(GRACEFUL_S + 1)
    log.warning("clients that do not read their answers are cut off")
    with trio.move_on_after(CLOSING_LIMIT_S):
        await app.close()
    os._exit(EXIT_OK)


async def _until_drained(app: LlmlbApp, received: AsyncIterator[int], limit_s: float) -> None:
    """Return when the server is to stop: after a signal, once the house has drained.

    Until then the listener answers: `/ready` says no, new requests are refused politely. A
    second signal means now.
    """
    await anext(received)
    log.info("draining", at_most_s=limit_s)
    async with trio.open_nursery() as nursery:

        async def hurry() -> None:
            await anext(received)
            nursery.cancel_scope.cancel()

        nursery.start_soon(hurry)
        with trio.move_on_after(limit_s):
            await app.house.drain()
        await _until_quiet(app)
        nursery.cancel_scope.cancel()
    app.cut_off()  # the server gives what is said last GRACEFUL_S to arrive
    log.info("stopping")


async def _until_quiet(app: LlmlbApp) -> None:
    """Return once nobody has asked anything for a moment.

    Whoever keeps a connection, and uses it, has been told by then that it closes; one that is
    closed just when a request comes in would leave its client guessing.
    """
    with trio.move_on_after(QUIET_LIMIT_S):
        # It does not poll: it sleeps for what is left.
        while (left_s := app.asked_at_s + QUIET_S - trio.current_time()) > 0:  # noqa: ASYNC110
            await trio.sleep(left_s)


def _bound(host: str, port: int) -> socket.socket:
    """A socket bound to the address. Raises StartupError that says what to do."""
    where = f"{host}:{port}"
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise StartupError(f"LLMLB_HOST={host} cannot be resolved: {error.strerror}.") from None
    listener = socket.socket(family, kind, proto)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            with suppress(OSError):
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise StartupError(_bind_problem(error, where)) from None
    return listener


def _bind_problem(error: OSError, where: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"{where} is in use, perhaps by another llmlb; stop that one, or choose another "
            "port with --port or LLMLB_PORT."
        )
    if error.errno == errno.EACCES:
        return f"this user may not listen on {where}; choose a port above 1023 with --port."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where} is not an address of this machine; set LLMLB_HOST to one that is."
    return f"cannot listen on {where}: {error.strerror}."
