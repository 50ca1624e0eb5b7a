"""What a request costs as endpoints and models grow in number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.balancer import Llmlb
from bench.building import Tools, say
from bench.contenders import Running, Scene
from bench.load import Ask, put_load
from bench.measures import Faulty, Plan
from bench.results import Figures
from bench.stubs import stubs

SIZES = ((1, 1), (10, 1), (100, 1), (1_000, 1), (1, 100), (1, 1_000))
"""Endpoints that all list the same models, and models beside those that every stub lists."""
QUICK_SIZES = ((1, 1), (100, 1), (1, 100))

PROBED_EVERY_S = "300"
"""The least often that can be set: what is asked for is the price of a request."""


def grow(tools: Tools, plan: Plan, directory: Path, *, quick: bool) -> Iterator[Figures]:
    """`endpoints`, `models`, `cpu_us` per request, of each size. Blocks.

    Raises Faulty, NotShown.
    """
    for endpoints, models in QUICK_SIZES if quick else SIZES:
        say(f"llmlb with {endpoints:,} endpoints and {models:,} models")
        place = directory / f"growth-{endpoints}-{models}"
        place.mkdir(parents=True)
        with _grown(tools, place, endpoints, models) as running:
            ask = Ask(32, plan.window_s, plan.warmup_s + 1)
            found = put_load(tools.lg, ask, running.port, key=running.key, pid=running.pid)
        if found.load.fault is not None:
            raise Faulty(f"growth, {endpoints} endpoints, {models} models: {found.load.fault}")
        assert found.cpu_s is not None
        cpu_us = found.cpu_s / found.load.ok * 1e6
        yield {"endpoints": endpoints, "models": models, "cpu_us": cpu_us}


@contextmanager
def _grown(tools: Tools, place: Path, endpoints: int, models: int) -> Iterator[Running]:
    balancer = Llmlb({"LLMLB_HEALTH_CHECK_INTERVAL": PROBED_EVERY_S})
    log = place / "stub.log"
    with stubs(tools.stub, log, ports=endpoints, models=models - 1) as ports:
        scene = balancer.prepare(Scene(ports[0], "", place), stub_ports=ports)
        with balancer.started(scene) as running:
            balancer.prove(running)
            yield running
