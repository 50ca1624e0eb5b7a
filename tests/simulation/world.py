"""The world of one run: the whole application between its clients and its endpoints."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Protocol

import structlog
import trio

from llmlb.house import House
from llmlb.http.application import LlmlbApp, create_app
from llmlb.http.upstream.pooled_client import PooledUpstreamClient
from llmlb.settings import Settings
from llmlb.world import World
from tests.fakes.asgi import Lifespan, Request
from tests.fakes.house import NOW
from tests.simulation.disk import SimDisk
from tests.simulation.endpoint import SimEndpoint
from tests.simulation.ledger import Ledger
from tests.simulation.network import SimNetwork
from tests.simulation.script import Script
from tests.simulation.trace import Trace
from tests.simulation.watch import LogBook, keep_books


class Leaver(Protocol):
    """A client, as far as the world can do something to it."""

    def leave(self) -> None: ...


class SimWorld:
    """Everything that is there in a run. The balancer can be stopped and started again."""

    def __init__(
        self, script: Script, trace: Trace, directory: Path, nursery: trio.Nursery
    ) -> None:
        self.script, self.trace, self.ledger = script, trace, Ledger()
        self.disk = SimDisk()
        self.endpoints = {
            make.name: SimEndpoint(make, script.chance(make.name), self.ledger, trace)
            for make in script.endpoints
        }
        self.network = SimNetwork(nursery, self.endpoints)
        self.wall_offset = timedelta()
        """How far the wall clock is from the truth."""
        self.standing = trio.Event()
        """Set while the balancer listens; a new one whenever it stops."""
        self.n_orders = 0
        """Of the operator's, under way."""
        self.clients: dict[str, Leaver] = {}
        """Those whose requests are under way, by tag."""
        self.app: LlmlbApp
        self.lifespan: Lifespan
        self.settings = Settings(
            data_dir=directory,
            database_url=None if script.persistent else "sqlite::memory:",
            log_level="warning",
            lane="off" if script.seed % 3 == 2 else "on",
            **asdict(script.limits),
        )
        self._nursery = nursery
        self._ids = count(1)
        self._rng = script.chance("balancer")

    @property
    def house(self) -> House:
        return self.app.house

    @property
    def capacities(self) -> dict[str, int]:
        """By name: how many requests each endpoint may be sent at once."""
        return {name: one.make.capacity for name, one in self.endpoints.items()}

    async def start(self) -> None:
        """Start the balancer, on what the database remembers."""
        self.app = self._application()
        self.lifespan = Lifespan(self.app)
        await self.lifespan.start(self._nursery)
        structlog.configure(processors=[LogBook(self.ledger, self.trace)])
        keep_books(self.app.house, self.ledger, self.trace)
        self.standing.set()
        self.trace.note("balancer", "stands")

    def listen_no_more(self) -> None:
        """Whoever comes now waits until the balancer stands again."""
        if self.standing.is_set():
            self.standing = trio.Event()

    async def stop(self) -> None:
        """Stop it in good order. Nothing is asked of it any more by then."""
        self.listen_no_more()
        await self.lifespan.stop()
        self.trace.note("balancer", "has stopped")

    async def operator(
        self, method: str, path: str, form: Mapping[str, object] | None = None
    ) -> Request:
        """A request to the management routes, and its answer."""
        body = b"" if form is None else json.dumps(form).encode()
        asked = Request(self.app, method, path, body, headers={"content-type": "application/json"})
        self.n_orders += 1
        try:
            return await asked.run()
        finally:
            self.n_orders -= 1

    def _now(self) -> datetime:
        return NOW + timedelta(seconds=trio.current_time()) + self.wall_offset

    def _application(self) -> LlmlbApp:
        """The real one, on the real client: only sockets, threads, clocks and chance are not."""
        return create_app(
            self.settings,
            client=PooledUpstreamClient(
                instance_id="simulated",
                connect_timeout_s=self.settings.connect_timeout_s,
                network=self.network,
            ),
            world=World(
                now=self._now,
                rng=self._rng,
                new_id=lambda: str(uuid.UUID(int=next(self._ids))),
            ),
            run_in_thread=self.disk.run,
        )


@asynccontextmanager
async def world_of(script: Script, trace: Trace, directory: Path) -> AsyncIterator[SimWorld]:
    """A world whose balancer serves, until the end of the block."""
    async with trio.open_nursery() as nursery:
        world = SimWorld(script, trace, directory, nursery)
        await world.start()
        yield world
        await world.stop()
        nursery.cancel_scope.cancel()
