"""How quickly does each endpoint answer."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple, assert_never

import trio
from msgspec import Struct

from llmlb.accounting import Speed
from llmlb.actors.mailbox import Mailbox, MailboxStatistics
from llmlb.routing import Measured, Standings
from llmlb.types import Api, EndpointId, ema

HISTORY_LENGTH = 360
"""Samples kept per endpoint, for charts."""

OnMeasured = Callable[[EndpointId, str | None, Api | None, float], None]
"""Told each new EMA in ms, to be written behind; without model and API: the endpoint's own.

inf says that what was written before holds no more.
"""


class Sample(NamedTuple):
    """How fast one response was."""

    at: datetime
    speed: Speed


class KnownLatency(NamedTuple):
    """An EMA from an earlier run; without model and API it is the endpoint's own."""

    endpoint_id: EndpointId
    model: str | None
    api: Api | None
    latency_ms: float


class Observed(Struct, frozen=True):
    """One response succeeded."""

    endpoint_id: EndpointId
    model: str
    api: Api
    speed: Speed
    at: datetime


@dataclass(frozen=True, slots=True)
class WentOffline:
    endpoint_id: EndpointId


@dataclass(frozen=True, slots=True)
class Forget:
    """The endpoint is gone, or another server stands at its place."""

    endpoint_id: EndpointId


Message = Observed | WentOffline | Forget


class LatencyTracker:
    """Owns every latency EMA and the recent samples; publishes the standings."""

    def __init__(
        self,
        known: Iterable[KnownLatency],
        *,
        on_measured: OnMeasured,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._mailbox = Mailbox[Message]()
        self._on_measured, self._clock = on_measured, clock
        self._known = tuple(known)
        self._by_endpoint: dict[EndpointId, Measured] = {}
        self._by_model: dict[tuple[EndpointId, str, Api], Measured] = {}
        self._history: dict[EndpointId, deque[Sample]] = {}
        # Read-only views of the live tables: a copy per sample would cost more than the rest.
        self.standings = Standings(
            MappingProxyType(self._by_endpoint), MappingProxyType(self._by_model)
        )
        self._changes = self.standings.changes

    def observed(self, sample: Observed) -> None:
        self._mailbox.tell(sample)

    def went_offline(self, endpoint_id: EndpointId) -> None:
        self._mailbox.tell(WentOffline(endpoint_id))

    def forget(self, endpoint_id: EndpointId) -> None:
        self._mailbox.tell(Forget(endpoint_id))

    def mailbox_statistics(self) -> MailboxStatistics:
        return self._mailbox.statistics()

    def close(self) -> None:
        self._mailbox.close()

    def history(self, endpoint_id: EndpointId) -> tuple[Sample, ...]:
        """The newest samples of one endpoint, oldest first, at most 360."""
        return tuple(self._history.get(endpoint_id, ()))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        now_s = self._clock()
        for known in self._known:
            measured = Measured(known.latency_ms, now_s)
            if known.model is None or known.api is None:
                self._by_endpoint[known.endpoint_id] = measured
            elif math.isfinite(known.latency_ms):
                self._by_model[known.endpoint_id, known.model, known.api] = measured
        self._changes.note_all()
        await self._mailbox.serve(self._handle, task_status=task_status)

    def _handle(self, message: Message) -> None:
        match message:
            case Observed():
                self._fold(message)
            case WentOffline(endpoint_id):
                self._changes.note(endpoint_id)
                self._by_endpoint[endpoint_id] = Measured(math.inf, self._clock())
                self._drop_models(endpoint_id)
                self._on_measured(endpoint_id, None, None, math.inf)
            case Forget(endpoint_id):
                self._changes.note(endpoint_id)
                self._history.pop(endpoint_id, None)
                if self._by_endpoint.pop(endpoint_id, None) is not None:
                    self._on_measured(endpoint_id, None, None, math.inf)
                self._drop_models(endpoint_id)
            case _:
                assert_never(message)

    def _fold(self, sample: Observed) -> None:
        now_s = self._clock()
        endpoint_id, key = sample.endpoint_id, (sample.endpoint_id, sample.model, sample.api)
        own, exact = self._by_endpoint.get(endpoint_id), self._by_model.get(key)
        response_ms = sample.speed.latency_ms
        own_ms = ema(own and own.latency_ms, response_ms)
        exact_ms = ema(exact and exact.latency_ms, response_ms)
        self._by_endpoint[endpoint_id] = Measured(own_ms, now_s)
        self._by_model[key] = Measured(exact_ms, now_s)
        self._changes.note(endpoint_id)
        samples = self._history.setdefault(endpoint_id, deque(maxlen=HISTORY_LENGTH))
        samples.append(Sample(sample.at, sample.speed))
        self._on_measured(endpoint_id, None, None, own_ms)
        self._on_measured(endpoint_id, sample.model, sample.api, exact_ms)

    def _drop_models(self, endpoint_id: EndpointId) -> None:
        for key in [k for k in self._by_model if k[0] == endpoint_id]:
            del self._by_model[key]
            self._on_measured(*key, math.inf)
