"""How the troubles of a script come about, and how they end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import trio

from tests.simulation.disk import SimDisk
from tests.simulation.endpoint import Condition, SimEndpoint
from tests.simulation.parts import DiskEvent, Event, Trouble
from tests.simulation.trace import Trace

FLAP_S = 1.5
"""A flapping endpoint is down and up for about so long each."""


async def befall(
    endpoints: Mapping[str, SimEndpoint], events: Iterable[Event], trace: Trace
) -> None:
    """Let the *events* happen at their times; returns when all are over."""
    async with trio.open_nursery() as nursery:
        for event in events:
            await trio.sleep_until(event.at_s)
            nursery.start_soon(_suffer, endpoints[event.endpoint], event, trace)


async def _suffer(endpoint: SimEndpoint, event: Event, trace: Trace) -> None:
    name = endpoint.make.name
    trace.note(name, f"{event.trouble}{f' ({event.lie})' if event.trouble is Trouble.LIES else ''}")
    condition = endpoint.condition
    match event.trouble:
        case Trouble.CRASH | Trouble.RESTART:
            endpoint.kill()
        case Trouble.HANG:
            condition.hanging = True
        case Trouble.PARTITION:
            condition.cut_off = True
        case Trouble.SLOW:
            condition.slowness = event.factor
        case Trouble.LIES:
            condition.lie, condition.share = event.lie, event.share
        case Trouble.FLAP:
            await _flap(endpoint, event.for_s)
    until_s = event.at_s + event.for_s
    if event.trouble is Trouble.RESTART:
        until_s = min(until_s, event.at_s + 2)
    await trio.sleep_until(until_s)
    recover(endpoint)
    trace.note(name, "is well")


async def _flap(endpoint: SimEndpoint, for_s: float) -> None:
    with trio.move_on_after(for_s):
        while True:
            endpoint.kill()
            await trio.sleep(endpoint.chance.uniform(0.5, 1.5) * FLAP_S)
            endpoint.condition.down = False
            await trio.sleep(endpoint.chance.uniform(0.5, 1.5) * FLAP_S)


def recover(endpoint: SimEndpoint) -> None:
    """Nothing ails it any more."""
    endpoint.condition = Condition()
    endpoint.changed()


async def befall_disk(disk: SimDisk, events: Iterable[DiskEvent], trace: Trace) -> None:
    """Let the *events* happen to the disk; returns when all are over."""
    for event in events:
        await trio.sleep_until(event.at_s)
        disk.trouble = event.trouble
        trace.note("disk", event.trouble)
        await trio.sleep(event.for_s)
        disk.trouble = None
        trace.note("disk", "is well")
