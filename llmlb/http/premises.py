"""All that stands while requests are served: what it is made of, and in which order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import trio

from llmlb.actors.prober import Surveyor
from llmlb.declared import apply_declared
from llmlb.house import House, open_house
from llmlb.http.access.opening import Doors, make_first_admin, open_doors
from llmlb.http.access.passwords import Passwords
from llmlb.http.bodies import BodyBudget
from llmlb.http.engines.surveyor import HttpSurveyor
from llmlb.http.exchange import Exchange
from llmlb.http.metrics.page import Metrics
from llmlb.http.tracing.exporting import tracing_by
from llmlb.http.upstream.client import UpstreamClient
from llmlb.http.upstream.guarded import GuardedNetwork
from llmlb.http.upstream.listener import Listener
from llmlb.http.upstream.pooled_client import PooledUpstreamClient
from llmlb.http.upstream.rules import WhyNot, for_endpoints, for_strangers
from llmlb.http.vision.gate import ImageGate
from llmlb.http.vision.remote import ImageFetch, RemoteImages
from llmlb.settings import Settings
from llmlb.store.database import ThreadRunner
from llmlb.store.opening import open_store
from llmlb.world import World

CLOSING_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Ground:
    """What they are built on."""

    settings: Settings
    world: World
    run_in_thread: ThreadRunner
    instance_id: str
    bodies: BodyBudget
    listener: Listener | None
    """Where the application is reached, if that is known."""
    client: UpstreamClient | None
    """In place of one that is made here."""
    tasks: trio.Nursery
    """For what nobody waits for."""


@dataclass(frozen=True, slots=True)
class Premises:
    """The house, and what stands round it."""

    house: House
    exchange: Exchange
    doors: Doors
    surveyor: Surveyor
    metrics: Metrics


@asynccontextmanager
async def open_premises(ground: Ground) -> AsyncIterator[Premises]:
    """Within it, all of it stands; the house has still to be run. Raises StartupError."""
    settings, world = ground.settings, ground.world
    async with AsyncExitStack() as held:
        store = await open_store(
            settings.database,
            data_dir=settings.data_path,
            secret_key=settings.secret_key,
            run_in_thread=ground.run_in_thread,
            now=world.now,
        )
        held.push_async_callback(_even_if_cancelled, store.close)
        await apply_declared(settings, store, now=world.now)
        passwords = Passwords(ground.run_in_thread)
        await make_first_admin(settings, store, passwords, world)
        client = ground.client or _client(ground, for_endpoints(ground.listener))
        held.push_async_callback(_even_if_cancelled, client.aclose)
        surveyor, metrics = HttpSurveyor(client), Metrics()
        house = await open_house(
            settings,
            store,
            surveyor,
            world=world,
            drop_connections=lambda gone: ground.tasks.start_soon(client.forget, gone),
            on_answered=metrics.answered,
        )
        metrics.follow(house, ground.bodies, client.statistics)
        # What clients name is fetched by other rules than what operators have registered.
        images = _client(ground, for_strangers(settings.image_fetch_allow, ground.listener))
        held.push_async_callback(_even_if_cancelled, images.aclose)
        remote = RemoteImages(ImageFetch(settings.image_fetch), images)
        url = (ground.listener or Listener(settings.host, settings.port)).url
        doors = await open_doors(settings, house, passwords, ground.run_in_thread, url)
        tracing = await held.enter_async_context(
            tracing_by(settings, world.now, lambda: house.registry.catalog)
        )
        exchange = Exchange(
            house,
            client,
            ImageGate(remote, ground.bodies, ground.run_in_thread),
            doors.gate,
            ground.instance_id,
            tracing=tracing,
        )
        yield Premises(house, exchange, doors, surveyor, metrics)


def _client(ground: Ground, why_not: WhyNot) -> PooledUpstreamClient:
    return PooledUpstreamClient(
        instance_id=ground.instance_id,
        connect_timeout_s=ground.settings.connect_timeout_s,
        network=GuardedNetwork(why_not),
    )


async def _even_if_cancelled(close: Callable[[], Awaitable[None]]) -> None:
    """Close something in good order, also when the house falls; bounded in time."""
    with trio.move_on_after(CLOSING_LIMIT_S, shield=True):
        await close()
