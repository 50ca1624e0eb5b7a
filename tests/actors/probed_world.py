"""A prober, servers that behave as a test says, and a log of all that was asked and told."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import trio

from llmlb.actors.prober import DeviceProber
from llmlb.errors import ProbeFailed
from llmlb.types import (
    DeviceInfo,
    DeviceReport,
    DeviceType,
    Endpoint,
    Engine,
    Model,
    Survey,
)
from tests.actors.conftest import endpoint, initialising

FOR_EVER_S = 1e6
JITTER = pytest.approx(1.0, abs=0.1)
GPU = DeviceReport(DeviceInfo(DeviceType.GPU))


class NoAnswer(ProbeFailed):
    answered = False


@dataclass
class Server:
    """How one endpoint behaves; a test changes it at will."""

    models: tuple[Model, ...] = (Model("m"),)
    down: ProbeFailed | None = None
    survey_fails: ProbeFailed | None = None
    check_takes_s: float = 0.0
    survey_takes_s: float = 0.0
    device_takes_s: float = 0.0
    device: DeviceReport = GPU
    memory: frozenset[str] | None = None
    memory_takes_s: float = 0.0


class ProbedWorld:
    """A prober, the servers it probes, and all that it asked and told, with the second."""

    def __init__(self, *, resync_interval_s: float = 900) -> None:
        self.servers: dict[str, Server] = {}
        self.asked: list[tuple[str, str, float]] = []
        self.told: list[tuple[str, str, object]] = []
        self.surveyed: list[Endpoint] = []
        self.raises: Exception | None = None
        self._busy: set[int] = set()
        self.prober = DeviceProber(
            self, self, resync_interval_s=resync_interval_s, rng=random.Random(7)
        )

    def server(self, name: str) -> Server:
        return self.servers.setdefault(name, Server())

    # the endpoints' side

    async def check(self, endpoint: Endpoint) -> tuple[str, ...]:
        server = self.server(endpoint.name)
        if self.raises is not None:
            raise self.raises
        await self._ask("check", endpoint, server.check_takes_s)
        if server.down is not None:
            raise server.down
        return tuple(model.id for model in server.models)

    async def survey(self, endpoint: Endpoint) -> Survey:
        server = self.server(endpoint.name)
        self.surveyed.append(endpoint)
        await self._ask("survey", endpoint, server.survey_takes_s)
        if failure := server.down or server.survey_fails:
            raise failure
        return Survey(Engine.VLLM, server.models, 64)

    async def device(self, endpoint: Endpoint) -> DeviceReport:
        server = self.server(endpoint.name)
        await self._ask("device", endpoint, server.device_takes_s)
        return server.device

    async def in_memory(self, endpoint: Endpoint) -> frozenset[str] | None:
        server = self.server(endpoint.name)
        await self._ask("in_memory", endpoint, server.memory_takes_s)
        return server.memory

    async def _ask(self, what: str, endpoint: Endpoint, takes_s: float) -> None:
        # by identity: the child of one that was watched anew may not have heard of it yet
        assert id(endpoint) not in self._busy, "one question at a time"
        self.asked.append((what, endpoint.name, trio.current_time()))
        self._busy.add(id(endpoint))
        try:
            await trio.sleep(takes_s)
        finally:
            self._busy.discard(id(endpoint))

    def asked_at_s(self, what: str, name: str = "a") -> list[float]:
        return [at_s for asked, who, at_s in self.asked if (asked, who) == (what, name)]

    # the registry's side

    def probed(self, endpoint: Endpoint, failure: str | None) -> None:
        self.told.append(("probed", endpoint.name, failure))

    def synced(self, endpoint: Endpoint, survey: Survey) -> None:
        self.told.append(("synced", endpoint.name, survey))

    def described(self, endpoint: Endpoint, device: DeviceReport) -> None:
        self.told.append(("described", endpoint.name, device))

    def loaded(self, endpoint: Endpoint, models: frozenset[str] | None) -> None:
        self.told.append(("loaded", endpoint.name, models))

    def told_of(self, what: str, name: str = "a") -> list[object]:
        return [said for told, who, said in self.told if (told, who) == (what, name)]


def new(name: str = "a", interval_s: float = 30) -> Endpoint:
    """As it is registered."""
    return replace(initialising(endpoint(name, health_check_interval_s=interval_s)), models=())


def known(name: str = "a", interval_s: float = 30) -> Endpoint:
    """As it is known from an earlier run, device and all."""
    return endpoint(
        name,
        health_check_interval_s=interval_s,
        probed=False,
        synced=False,
        device_info=GPU.info,
        engine=Engine.VLLM,
    )


def gaps_s(times_s: list[float]) -> list[float]:
    return [b - a for a, b in pairwise(times_s)]
