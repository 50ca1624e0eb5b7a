"""The ASGI application: what it is built of, and how it lives."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper
from quart.wrappers.base import BaseRequestWebsocket
from quart_trio import QuartTrio
from werkzeug.exceptions import BadHost
from werkzeug.routing import MapAdapter

from llmlb.actors.prober import Surveyor
from llmlb.errors import ShuttingDown, StartupError
from llmlb.house import House
from llmlb.http.access.needs import refuse_undeclared
from llmlb.http.access.opening import Doors
from llmlb.http.asgi import HttpConnection, Lifespan, LlmlbRequest
from llmlb.http.asgi_websocket import WebsocketConnection
from llmlb.http.auditing import event_of
from llmlb.http.bodies import BodyBudget
from llmlb.http.exchange import Exchange
from llmlb.http.hooks import install_hooks
from llmlb.http.intake.reception import Reception
from llmlb.http.intake.spool import Spool
from llmlb.http.lane.hook import install
from llmlb.http.lane.lane import Lane, lane_fits
from llmlb.http.lane.taking import PassOn, Server, serve_taken
from llmlb.http.logs import Logs
from llmlb.http.metrics.page import Metrics
from llmlb.http.premises import Ground, Premises, open_premises
from llmlb.http.response_policy import ResponsePolicy
from llmlb.http.routes import register_routes
from llmlb.http.upstream.client import UpstreamClient
from llmlb.http.upstream.listener import Listener
from llmlb.http.wire.connection import Limits
from llmlb.settings import Settings, load_settings
from llmlb.store.database import ThreadRunner
from llmlb.world import World

log = structlog.get_logger()


class LlmlbApp(QuartTrio):
    """The Quart-Trio face, and the owner of the house while it serves."""

    asgi_http_class = HttpConnection  # type: ignore[assignment]  # it serves this class alone
    asgi_lifespan_class = Lifespan
    asgi_websocket_class = WebsocketConnection  # type: ignore[assignment]  # for the same reason
    request_class = LlmlbRequest

    def __init__(
        self,
        settings: Settings | None,
        *,
        client: UpstreamClient | None,
        world: World,
        run_in_thread: ThreadRunner,
    ) -> None:
        super().__init__("llmlb", static_folder=None)
        self._given_settings, self._given_client = settings, client
        self._world, self.run_in_thread = world, run_in_thread
        self.instance_id = world.new_id()
        self.body_budget = BodyBudget(0)
        self.crash: BaseException | None = None
        """What ended the house, if it did not end by itself."""
        self.startup_error: StartupError | None = None
        self._premises: Premises | None = None
        self._reception: Reception | None = None
        self._limits: Limits | None = None
        self._lane: Lane | None = None
        self.hosted = False
        """By `llmlb serve`, where all connections are ours, and HTTP/1.1."""
        self.response_policy = ResponsePolicy()
        self.logs = Logs()
        self.listener: Listener | None = None
        """Where it is reached, if whoever serves it says so before it starts."""
        self.asked_at_s = -math.inf
        """When the latest request came in, by Trio's clock."""
        self.served = False
        """Whether the house has ever stood."""
        self._ended = trio.Event()
        self._has_routes = False
        # Streams last as long as they last, and bodies have their own limit.
        self.config["RESPONSE_TIMEOUT"] = None
        # OPTIONS is a preflight, which the response policy answers, or a method like any other.
        self.config["PROVIDE_AUTOMATIC_OPTIONS"] = False

    @property
    def _standing(self) -> Premises:
        if self._premises is None:
            raise _not_serving()
        return self._premises

    @property
    def house(self) -> House:
        """The house. Raises ShuttingDown before it is open and after it has closed."""
        return self._standing.house

    @property
    def draining(self) -> bool:
        """Whether it finishes what it has begun, and begins nothing new."""
        return self._premises is not None and not self._premises.house.open

    @property
    def exchange(self) -> Exchange:
        """The core of the inference routes. Raises ShuttingDown like `house`."""
        return self._standing.exchange

    @property
    def doors(self) -> Doors:
        """All that letting people in takes. Raises ShuttingDown like `house`."""
        return self._standing.doors

    @property
    def surveyor(self) -> Surveyor:
        """Asks endpoints about themselves. Raises ShuttingDown like `house`."""
        return self._standing.surveyor

    @property
    def reception(self) -> Reception:
        """Takes in the bodies of requests. Raises ShuttingDown before the house is open."""
        if self._reception is None:
            raise _not_serving()
        return self._reception

    @property
    def metrics(self) -> Metrics:
        """What is measured. Raises ShuttingDown like `house`."""
        return self._standing.metrics

    def taken(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        stream: trio.SocketStream,
        pass_on: PassOn,
    ) -> Awaitable[None] | None:
        """See TakesConnections."""
        if self._limits is None or not (self.hosted or self._lane):
            return None
        server = Server(app, config, context, None if self.hosted else pass_on)
        return serve_taken(server, stream, self._limits, self._lane)

    def create_url_adapter(self, request: BaseRequestWebsocket | None) -> MapAdapter | None:
        """No route depends on the Host, and one that is no name is no reason to break off.

        Quart would let the exception end the connection, and hypercorn with it all others.
        """
        try:
            return super().create_url_adapter(request)
        except BadHost:
            if request is None:
                raise
            return self.url_map.bind(
                "unreadable", path_info=request.path, default_method=request.method
            )

    def add_routes(self) -> None:
        """Have all routes, once. Raises what a route raises that no line of the table is for."""
        if not self._has_routes:
            self._has_routes = True
            register_routes(self)
            refuse_undeclared(self.url_map)

    async def open(self) -> None:
        """Start everything; returns when requests can be served. Raises StartupError."""
        self.add_routes()
        try:
            await self.nursery.start(self._live)
        except StartupError as error:
            self.startup_error = error
            log.error("llmlb cannot start", reason=str(error))  # noqa: TRY400 - one sentence
            raise

    def cut_off(self) -> None:
        """End what is still being answered, each with an error in its own dialect."""
        if self._premises is not None:
            self._premises.exchange.cut_off.now()
            self._premises.house.end_events()
        self.logs.tail.end()

    async def close(self) -> None:
        """Stop everything, having written what is to be written. The caller bounds the time."""
        self.logs.tail.end()
        if self._premises is not None:
            self._premises.house.close()
            await self._ended.wait()

    def tell_audit(self, status: int) -> None:
        """Record the request at hand, which is answered with *status*, if it changes something."""
        if self._premises is not None:
            house = self._premises.house
            event = event_of(status, house.world.now())
            if event is not None:
                house.tell_audit(event)

    def log_exception(self, *told: Any) -> None:  # noqa: ANN401 - see below
        """Quart's notes on what broke; a start that was refused has been told already."""
        exc_info = told[-1]  # Quart 0.23 tells the context before it
        if not isinstance(exc_info[1], StartupError):
            log.error("the application failed", exc_info=exc_info)

    async def _live(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        settings = self._given_settings or load_settings()
        self.logs.begin(settings)
        self.response_policy = ResponsePolicy.of(settings)
        self.config["MAX_CONTENT_LENGTH"] = None  # judged where bodies come in
        self.config["BODY_TIMEOUT"] = settings.body_timeout_s
        self.body_budget.limit_bytes = settings.body_memory_bytes
        spool = Spool(settings.spool_path, settings.spool_bytes, self.run_in_thread)
        spool.prepare()
        self._reception = Reception(
            self.body_budget,
            spool,
            max_body_bytes=settings.max_body_bytes,
            max_upload_bytes=settings.max_upload_bytes,
            progress_timeout_s=settings.body_progress_timeout_s,
        )
        ground = Ground(
            settings,
            self._world,
            self.run_in_thread,
            self.instance_id,
            self.body_budget,
            self.listener,
            self._given_client,
            self.nursery,
        )
        async with open_premises(ground) as premises, self._lane_to(settings, self._reception):
            house = premises.house
            self.logs.redactor.catalog = lambda: house.registry.catalog
            self._premises, self.served = premises, True
            try:
                async with premises.metrics.lag.watched():
                    await house.run(task_status=task_status)
            finally:
                self._premises = None
        self._ended.set()

    @asynccontextmanager
    async def _lane_to(self, settings: Settings, reception: Reception) -> AsyncIterator[None]:
        """Within it, connections that are taken may begin on the lane, if that is on."""
        self._limits = Limits.of(settings)
        if settings.lane == "off" or not lane_fits():
            yield
            return
        lane = Lane(self, reception, self._limits, body_limit_s=settings.body_timeout_s)
        async with lane.open():
            self._lane = lane
            try:
                yield
            finally:
                self._lane = None


def create_app(
    settings: Settings | None = None,
    *,
    client: UpstreamClient | None = None,
    world: World | None = None,
    run_in_thread: ThreadRunner = trio.to_thread.run_sync,
    routes_at_once: bool = True,
) -> LlmlbApp:
    """The ASGI application. Settings are read from the environment when it starts.

    Tests hand in a *client* of their own, a *world* that holds still, and a runner that
    needs no threads. Without *routes_at_once* it has no routes before it starts: most of what it
    takes to make one, of which not all are served.
    """
    install()
    app = LlmlbApp(settings, client=client, world=world or World(), run_in_thread=run_in_thread)
    app.url_map.merge_slashes = False  # its redirect would be a page of HTML
    app.before_serving(app.open)
    app.after_serving(app.close)
    install_hooks(
        app,
        lambda: app.doors.gate,
        app.instance_id,
        lambda: app.response_policy,
        audit=app.tell_audit,
    )
    if routes_at_once:
        app.add_routes()
    return app


def _not_serving() -> ShuttingDown:
    return ShuttingDown("The balancer is not serving; try again in a moment.", retry_after_s=5)
