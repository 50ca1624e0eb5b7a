"""Which endpoints are watched, and what their probes answer."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol, assert_never

import structlog
import trio

from llmlb.actors.mailbox import ActorGone, Ask, Mailbox, MailboxStatistics
from llmlb.errors import NotFound, ProbeFailed
from llmlb.types import DeviceReport, Endpoint, EndpointId, Model, Survey

log = structlog.get_logger()

CHECK_LIMIT_S, SURVEY_LIMIT_S, DEVICE_LIMIT_S = 10.0, 60.0, 20.0
"""Each single question has its own bound; these are for the whole, whatever the surveyor does."""

SECOND_LOOK_S = 5.0
"""After a first failure, look again this soon, for it decides between error and offline."""

HURRY_SPACING_S = 1.0
"""A hurried probe comes no sooner than this after the last one."""

START_SPREAD_S = 2.0
"""Endpoints known at the start are first probed at random moments within this."""


class Surveyor(Protocol):
    """Asks endpoints over the network. Each question is bounded in time and size."""

    async def check(self, endpoint: Endpoint) -> tuple[str, ...]:
        """The ids of the models it lists. Raises ProbeFailed."""
        ...

    async def survey(self, endpoint: Endpoint) -> Survey:
        """Engine, models and capacity. Raises ProbeFailed."""
        ...

    async def device(self, endpoint: Endpoint) -> DeviceReport:
        """What it computes on; never raises for what an endpoint does."""
        ...

    async def in_memory(self, endpoint: Endpoint) -> frozenset[str] | None:
        """The models it has in memory, if it loads them on demand and tells; never raises."""
        ...


class Listener(Protocol):
    """Who is told of the answers; no call here may block."""

    def probed(self, endpoint: Endpoint, failure: str | None) -> None: ...
    def synced(self, endpoint: Endpoint, survey: Survey) -> None: ...
    def described(self, endpoint: Endpoint, device: DeviceReport) -> None: ...
    def loaded(self, endpoint: Endpoint, models: frozenset[str] | None) -> None: ...


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What one asked-for probe found; `round_trip_ms` is that of the liveness question."""

    failure: str | None
    round_trip_ms: float
    models: tuple[Model, ...] = ()
    added: int = 0
    removed: int = 0
    updated: int = 0
    answered: bool = True
    """Whether it answered at all, if badly."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Watch *endpoint* from now on, or with these new properties.

    Those known at the start are not all asked *at_once*, but spread over a moment.
    """

    endpoint: Endpoint
    at_once: bool = True


@dataclass(frozen=True, slots=True)
class Unwatch:
    endpoint_id: EndpointId


@dataclass(frozen=True, slots=True)
class Hurry:
    """There is reason to believe that the last probe's answer no longer holds."""

    endpoint_id: EndpointId
    resync: bool


@dataclass(slots=True, eq=False)
class ProbeNow(Ask[ProbeReport]):
    """Probe and survey at once, and say what was found."""

    endpoint_id: EndpointId


Message = Watch | Unwatch | Hurry | ProbeNow


@dataclass(slots=True, eq=False)
class _Watched:
    """One endpoint under watch, shared by the actor and the child that probes it."""

    endpoint: Endpoint
    first_delay_s: float
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    wake: trio.Event = field(default_factory=trio.Event)
    asked: list[ProbeNow] = field(default_factory=list)
    asking: list[ProbeNow] = field(default_factory=list)
    hurried: bool = False
    resync: bool = True
    failures: int = 0
    described: bool = False
    loaded: frozenset[str] | None = None
    synced_at_s: float = 0.0
    probed_at_s: float = -HURRY_SPACING_S


class DeviceProber:
    """Owns which endpoints are watched; one child task each does the asking."""

    def __init__(
        self,
        surveyor: Surveyor,
        listener: Listener,
        *,
        resync_interval_s: float,
        rng: random.Random,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._mailbox = Mailbox[Message]()
        self._surveyor, self._listener = surveyor, listener
        self._resync_interval_s, self._rng, self._clock = resync_interval_s, rng, clock
        self._watched: dict[EndpointId, _Watched] = {}
        self._children: trio.Nursery

    def watch(self, endpoint: Endpoint, *, at_once: bool = True) -> None:
        self._mailbox.tell(Watch(endpoint, at_once))

    def unwatch(self, endpoint_id: EndpointId) -> None:
        self._mailbox.tell(Unwatch(endpoint_id))

    def hurry(self, endpoint_id: EndpointId, *, resync: bool = False) -> None:
        """Probe soon, out of turn; with *resync* read the models again, too."""
        self._mailbox.tell(Hurry(endpoint_id, resync))

    async def probe_now(self, endpoint_id: EndpointId) -> ProbeReport:
        """Probe and survey now. Raises NotFound if it is not watched, ActorGone."""
        return await self._mailbox.ask(ProbeNow(endpoint_id))

    def mailbox_statistics(self) -> MailboxStatistics:
        return self._mailbox.statistics()

    def close(self) -> None:
        self._mailbox.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as self._children:
            await self._mailbox.serve(self._handle, task_status=task_status)
            self._children.cancel_scope.cancel()

    def _handle(self, message: Message) -> None:
        match message:
            case Watch(endpoint, at_once):
                self._drop(endpoint.id)
                delay_s = 0.0 if at_once else self._rng.uniform(0, START_SPREAD_S)
                watched = _Watched(endpoint, delay_s)
                self._watched[endpoint.id] = watched
                self._children.start_soon(self._keep_probing, watched)
            case Unwatch(endpoint_id):
                self._drop(endpoint_id)
            case Hurry(endpoint_id, resync):
                if watched_one := self._watched.get(endpoint_id):
                    watched_one.resync |= resync
                    watched_one.hurried = True
                    watched_one.wake.set()
            case ProbeNow(endpoint_id=endpoint_id, reply=reply):
                if asked_one := self._watched.get(endpoint_id):
                    asked_one.asked.append(message)
                    asked_one.wake.set()
                else:
                    reply.refuse(
                        NotFound("This endpoint is disabled; enable it before probing it.")
                    )
            case _:
                assert_never(message)

    def _drop(self, endpoint_id: EndpointId) -> None:
        if watched := self._watched.pop(endpoint_id, None):
            watched.scope.cancel()
            for request in watched.asked + watched.asking:
                request.reply.refuse(NotFound("The endpoint was removed or changed meanwhile."))

    async def _keep_probing(self, watched: _Watched) -> None:
        with watched.scope, suppress(ActorGone):
            await self._pause(watched, watched.first_delay_s)
            while True:
                watched.asking, watched.asked = watched.asked, []
                report = await self._probe(watched)
                for request in watched.asking:
                    request.reply.answer(report)
                watched.asking = []
                if not watched.described and report.failure is None:
                    watched.described = True
                    await self._describe(watched)
                if report.failure is None:
                    await self._look_into_memory(watched)
                await self._pause(watched, self._until_next(watched))

    async def _probe(self, watched: _Watched) -> ProbeReport:
        endpoint, started_s = watched.endpoint, self._clock()
        watched.probed_at_s = started_s
        try:
            with trio.fail_after(CHECK_LIMIT_S):
                ids = await self._surveyor.check(endpoint)
        except trio.TooSlowError:
            reason = f"It did not answer within {CHECK_LIMIT_S:.0f} s."
            return self._failed(watched, reason, self._clock() - started_s, answered=False)
        except ProbeFailed as error:
            seconds = self._clock() - started_s
            return self._failed(watched, str(error), seconds, answered=error.answered)
        round_trip_ms = (self._clock() - started_s) * 1000
        due = self._clock() - watched.synced_at_s >= self._resync_interval_s
        changed = set(ids) != {m.id for m in endpoint.models}
        if not (watched.resync or watched.asking or due or changed or watched.failures):
            self._listener.probed(endpoint, None)
            return ProbeReport(None, round_trip_ms, endpoint.models)
        try:
            with trio.fail_after(SURVEY_LIMIT_S):
                survey = await self._surveyor.survey(endpoint)
        except trio.TooSlowError:
            reason = f"It did not finish telling of its models within {SURVEY_LIMIT_S:.0f} s."
            return self._failed(watched, reason, self._clock() - started_s)
        except ProbeFailed as error:
            seconds = self._clock() - started_s
            return self._failed(watched, str(error), seconds, answered=error.answered)
        return self._synced(watched, survey, round_trip_ms)

    def _failed(
        self, watched: _Watched, reason: str, seconds: float, *, answered: bool = True
    ) -> ProbeReport:
        watched.failures += 1
        self._listener.probed(watched.endpoint, reason)
        return ProbeReport(reason, seconds * 1000, answered=answered)

    def _synced(self, watched: _Watched, survey: Survey, round_trip_ms: float) -> ProbeReport:
        endpoint = watched.endpoint
        before, after = ({m.id: m for m in ms} for ms in (endpoint.models, survey.models))
        # The next survey falls back on this one where questions are not answered.
        watched.endpoint = replace(
            endpoint,
            engine=survey.engine,
            models=survey.models,
            engine_concurrency=survey.engine_concurrency,
            native_apis=survey.native_apis,
        )
        watched.failures, watched.resync = 0, False
        watched.synced_at_s = self._clock()
        self._listener.probed(endpoint, None)
        self._listener.synced(endpoint, survey)
        return ProbeReport(
            None,
            round_trip_ms,
            survey.models,
            added=len(after.keys() - before.keys()),
            removed=len(before.keys() - after.keys()),
            updated=sum(before[i] != after[i] for i in before.keys() & after.keys()),
        )

    async def _describe(self, watched: _Watched) -> None:
        """Ask for the device: once, when the endpoint is registered, never at later probes."""
        endpoint = watched.endpoint
        if endpoint.device_info is None and endpoint.device_note is None:
            report = DeviceReport(note=f"It did not tell within {DEVICE_LIMIT_S:.0f} s.")
            with trio.move_on_after(DEVICE_LIMIT_S):
                report = await self._surveyor.device(endpoint)
            self._listener.described(endpoint, report)

    async def _look_into_memory(self, watched: _Watched) -> None:
        loaded = None
        with trio.move_on_after(CHECK_LIMIT_S):
            loaded = await self._surveyor.in_memory(watched.endpoint)
        if loaded != watched.loaded:
            watched.loaded = loaded
            self._listener.loaded(watched.endpoint, loaded)

    def _until_next(self, watched: _Watched) -> float:
        interval_s = watched.endpoint.health_check_interval_s
        if watched.failures == 1:
            interval_s = min(interval_s, SECOND_LOOK_S)
        return interval_s * self._rng.uniform(0.9, 1.1)

    async def _pause(self, watched: _Watched, seconds: float) -> None:
        """Wait for the next turn, or until somebody asks for a probe."""
        until_s = self._clock() + seconds
        while not watched.asked:
            if watched.hurried:
                until_s = min(until_s, watched.probed_at_s + HURRY_SPACING_S)
            watched.wake = trio.Event()
            with trio.move_on_after(max(0.0, until_s - self._clock())) as turn:
                await watched.wake.wait()
            if turn.cancelled_caught:
                break
        watched.hurried = False
