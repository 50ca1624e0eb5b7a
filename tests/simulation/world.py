"""The world of one run: the whole application between its clients and its endpoints."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path

import structlog
import trio

from llmlb.house import World
from llmlb.http.application import LlmlbApp, create_app
from llmlb.http.upstream.httpx_client import HttpxUpstreamClient
from llmlb.settings import Settings
from tests.fakes.asgi import Lifespan, Request
from tests.fakes.house import NOW, url
from tests.simulation.disk import SimDisk
from tests.simulation.endpoint import SimEndpoint
from tests.simulation.ledger import Ledger
from tests.simulation.network import SimNetwork
from tests.simulation.script import Script
from tests.simulation.trace import Trace
from tests.simulation.watch import LogBook, keep_books


@dataclass(frozen=True, slots=True)
class SimWorld:
    """Everything that is there in a run."""

    script: Script
    trace: Trace
    ledger: Ledger
    app: LlmlbApp
    lifespan: Lifespan
    network: SimNetwork
    disk: SimDisk
    endpoints: dict[str, SimEndpoint]

    @property
    def capacities(self) -> dict[str, int]:
        """By name: how many requests each endpoint may be sent at once."""
        return {name: one.make.capacity for name, one in self.endpoints.items()}


@asynccontextmanager
async def world_of(script: Script, trace: Trace, directory: Path) -> AsyncIterator[SimWorld]:
    """A world whose application serves, until the end of the block."""
    ledger, disk = Ledger(), SimDisk()
    endpoints = {
        make.name: SimEndpoint(make, script.chance(make.name), ledger, trace)
        for make in script.endpoints
    }
    async with trio.open_nursery() as nursery:
        network = SimNetwork(nursery, endpoints)
        app = _application(script, directory, network, disk)
        lifespan = Lifespan(app)
        await lifespan.start(nursery)
        structlog.configure(processors=[LogBook(ledger, trace)])
        keep_books(app.house, ledger, trace)
        world = SimWorld(script, trace, ledger, app, lifespan, network, disk, endpoints)
        for endpoint in endpoints.values():
            await _register(world, endpoint)
        yield world
        await lifespan.stop()
        nursery.cancel_scope.cancel()


def _application(script: Script, directory: Path, network: SimNetwork, disk: SimDisk) -> LlmlbApp:
    """The real one, on the real client: only sockets, threads, clocks and chance are not."""
    ids = count(1)
    return create_app(
        Settings(
            data_dir=directory,
            database_url="sqlite::memory:",
            log_level="warning",
            **asdict(script.limits),
        ),
        client=HttpxUpstreamClient(
            instance_id="simulated",
            connect_timeout_s=script.limits.connect_timeout_s,
            network=network,
        ),
        world=World(
            now=lambda: NOW + timedelta(seconds=trio.current_time()),
            rng=random.Random(f"{script.seed}/balancer"),
            new_id=lambda: str(uuid.UUID(int=next(ids))),
        ),
        run_in_thread=disk.run,
    )


async def _register(world: SimWorld, endpoint: SimEndpoint) -> None:
    """As an operator does."""
    make = endpoint.make
    form = {
        "name": make.name,
        "base_url": url(make.name),
        "max_concurrency": make.capacity,
        "health_check_interval_secs": make.interval_s,
        "inference_timeout_secs": make.inference_timeout_s,
    }
    json_header = {"content-type": "application/json"}
    answer = await Request(
        world.app, "POST", "/api/endpoints", json.dumps(form).encode(), headers=json_header
    ).run()
    assert answer.status == 201, answer.json
