"""What people do to the balancer while it works: endpoints, restarts, and the wall clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

import trio

from llmlb.store.connection import BUSY_TIMEOUT_S
from llmlb.types import EndpointId
from tests.fakes.house import url
from tests.simulation.parts import OperatorEvent, Order
from tests.simulation.world import SimWorld

AGAIN_S = 2.0
"""An operator whose order was refused (the disk is full, say) tries again so much later."""

DRAIN_S = 10.0
"""So long a restart waits for requests to end; then it cuts them off."""

CUT_OFF_S = 1.0
"""So soon after that nothing may be left of them."""


_DONE_ALREADY = {("DELETE", 404), ("POST", 409)}


async def register(world: SimWorld, name: str) -> None:
    """Tell the balancer of an endpoint, until it has taken it down."""
    make = world.endpoints[name].make
    form = {
        "name": name,
        "base_url": url(name),
        "max_concurrency": make.capacity,
        "health_check_interval_secs": make.interval_s,
        "inference_timeout_secs": make.inference_timeout_s,
    }
    await _insist(world, "POST", "/api/endpoints", form)


async def meddle(world: SimWorld, events: Iterable[OperatorEvent]) -> None:
    """Give the orders of *events*, one after the other, and take each back in the end."""
    for event in events:
        await trio.sleep_until(event.at_s)
        world.trace.note(event.endpoint, event.order)
        ordered = await _id_of(world, event.endpoint)
        path = f"/api/endpoints/{ordered}"
        match event.order:
            case Order.DRAIN | Order.DISABLE:
                await _insist(world, "POST", f"{path}/{event.order}")
                await trio.sleep(event.for_s)
                await _insist(world, "POST", f"{path}/enable")
            case Order.REMOVE:
                await _insist(world, "DELETE", path)
                await trio.sleep(event.for_s)
                await _until_idle(world, ordered)
                await register(world, event.endpoint)
        world.trace.note(event.endpoint, f"{event.order} is over")


async def restart(world: SimWorld, at_s: float) -> None:
    """Stop the balancer as `llmlb serve` does, and start it again."""
    await trio.sleep_until(at_s)
    # What cannot be written at the very end is lost, and cannot but be.
    world.disk.spared = True
    await trio.sleep(BUSY_TIMEOUT_S)
    with trio.move_on_after(DRAIN_S):
        await world.house.drain()
    world.listen_no_more()
    for client in tuple(world.clients.values()):
        client.leave()
    await trio.sleep(CUT_OFF_S)
    await world.stop()
    await world.start()
    world.disk.spared = False


async def turn_clock(world: SimWorld, jumps: Iterable[tuple[float, timedelta]]) -> None:
    """Let the wall clock jump."""
    for at_s, jump in jumps:
        await trio.sleep_until(at_s)
        world.wall_offset += jump
        world.trace.note("wall clock", str(jump))


async def _until_idle(world: SimWorld, endpoint_id: EndpointId) -> None:
    """Nothing runs on the endpoint any more: to be another one, the server has to be free."""
    while True:
        await world.standing.wait()
        if endpoint_id not in world.house.admission.statistics().in_flight:
            return
        await trio.sleep(AGAIN_S)


async def _insist(
    world: SimWorld, method: str, path: str, form: Mapping[str, object] | None = None
) -> None:
    """Ask until it is done; it may have been done by an order that was answered with 503."""
    while True:
        await world.standing.wait()
        answer = await world.operator(method, path, form)
        if answer.status < 300 or (method, answer.status) in _DONE_ALREADY:
            return
        assert answer.status == 503, answer.json
        await trio.sleep(AGAIN_S)


async def _id_of(world: SimWorld, name: str) -> EndpointId:
    await world.standing.wait()
    known = world.house.registry.catalog.endpoints.values()
    return next(endpoint.id for endpoint in known if endpoint.name == name)
