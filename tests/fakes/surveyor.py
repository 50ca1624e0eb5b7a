"""A surveyor that needs no network: each endpoint is as a test says, by its base URL."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from llmlb.errors import ProbeFailed
from llmlb.types import DeviceReport, Endpoint, Engine, Model, Survey


class NoAnswer(ProbeFailed):
    answered = False


@dataclass
class FakeSurveyor:
    """All endpoints answer at once and list one model, unless told otherwise."""

    models: dict[str, tuple[Model, ...]] = field(default_factory=dict)
    failures: dict[str, ProbeFailed] = field(default_factory=dict)
    devices: dict[str, DeviceReport] = field(default_factory=dict)
    memory: dict[str, frozenset[str]] = field(default_factory=dict)
    answer_after_s: float = 0.0
    survey_after_s: float = 0.0
    """On top of answer_after_s, for the second question."""
    concurrency: int | None = None
    checked: list[Endpoint] = field(default_factory=list)

    async def check(self, endpoint: Endpoint) -> tuple[str, ...]:
        self.checked.append(endpoint)
        await trio.sleep(self.answer_after_s)
        if failure := self.failures.get(endpoint.base_url):
            raise failure
        return tuple(model.id for model in self._listed(endpoint))

    async def survey(self, endpoint: Endpoint) -> Survey:
        await trio.sleep(self.answer_after_s + self.survey_after_s)
        if failure := self.failures.get(endpoint.base_url):
            raise failure
        return Survey(Engine.LLAMACPP, self._listed(endpoint), self.concurrency)

    async def device(self, endpoint: Endpoint) -> DeviceReport:
        await trio.lowlevel.checkpoint()
        return self.devices.get(endpoint.base_url, DeviceReport(note="It does not tell."))

    async def in_memory(self, endpoint: Endpoint) -> frozenset[str] | None:
        await trio.lowlevel.checkpoint()
        return self.memory.get(endpoint.base_url)

    def _listed(self, endpoint: Endpoint) -> tuple[Model, ...]:
        return self.models.get(endpoint.base_url, (Model("tiny"),))
