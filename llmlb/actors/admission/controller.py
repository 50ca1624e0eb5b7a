"""Who may start a request now, who waits in line, and who is turned away."""

from __future__ import annotations

import random
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from itertools import count
from typing import assert_never

import trio

from llmlb.accounting import Lease, Outcome
from llmlb.actors.admission.candidates import Candidates
from llmlb.actors.admission.circuits import CircuitChange
from llmlb.actors.admission.face import AdmissionFace
from llmlb.actors.admission.health import Health
from llmlb.actors.admission.line import Line
from llmlb.actors.admission.messages import (
    Begun,
    CatalogChanged,
    Close,
    DelayOver,
    Message,
    PauseOver,
    Release,
    TakenBack,
    WaitForReady,
    WaitUntilIdle,
)
from llmlb.actors.admission.results import (
    CapacityExceeded,
    Closed,
    Ready,
    Timeout,
)
from llmlb.actors.admission.retries import RetryBudget
from llmlb.actors.admission.slots import Slots
from llmlb.actors.admission.statistics import AdmissionStatistics
from llmlb.actors.admission.throughput import Throughput
from llmlb.actors.mailbox import ActorGone
from llmlb.catalog import Catalog
from llmlb.records import View
from llmlb.routing import (
    Accept,
    AcceptWithDelay,
    AdmissionDecision,
    Reject,
    Standings,
)
from llmlb.types import Api, Endpoint, EndpointId

SMALLEST_GRADED_LIMIT = 5
"""Below this many places the steps of admission control would be fractions of a place."""


class AdmissionController(AdmissionFace):
    """Owns the leases and the line; one message decides one request, in one step."""

    def __init__(
        self,
        *,
        standings: Standings,
        clock: Callable[[], float] = trio.current_time,
        rng: random.Random | None = None,
        on_circuit: Callable[[CircuitChange], None] = lambda _: None,
    ) -> None:
        """*standings* is read at each decision; *clock* tells monotonic seconds.

        *rng* is for jitter. *on_circuit* is told of circuits that open, are tried, or close; it
        must not block.
        """
        super().__init__()
        self._clock = clock
        self._slots, self._line, self._throughput = Slots(), Line[WaitForReady](), Throughput()
        self._health = Health(rng or random.Random(), on_circuit)  # noqa: S311 - no secret # nosec B311
        self._candidates = Candidates(self._slots, self._health, standings)
        self._retries, self._withheld = RetryBudget(), False
        self._out: dict[int, tuple[str, Endpoint]] = {}
        """The model that each live lease was granted for, and the endpoint as it was then."""
        self._serials, self._places = count(1), count(1)
        self._closed = False
        self._until_idle: list[WaitUntilIdle] = []
        self._timers: trio.Nursery

    @property
    def _catalog(self) -> Catalog:
        return self._candidates.catalog

    def statistics(self) -> AdmissionStatistics:
        return AdmissionStatistics(
            dict(self._slots.in_flight),
            self._line.by_model(),
            self._mailbox.statistics(),
            len(self._retries),
            self._health.seen(self._catalog.endpoints, self._clock()),
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as self._timers:
            await self._mailbox.serve(self._handle, task_status=task_status)
            self._timers.cancel_scope.cancel()

    def _handle(self, message: Message) -> None:
        match message:
            case WaitForReady():
                self._consider(message)
            case Release():
                self._take_lease(message)
            case Begun(serial):
                self._begin(serial)
            case TakenBack(serial, endpoint_id):
                self._health.circuits.taken_back(serial, endpoint_id)
                self._serve_those_for(endpoint_id)
            case CatalogChanged(catalog):
                self._take_in(catalog)
            case DelayOver(model):
                self._serve(model, self._clock())
            case PauseOver(endpoint_id):
                self._serve_those_for(endpoint_id)
            case Close():
                self._close_line()
            case WaitUntilIdle():
                self._until_idle.append(message)
            case _:
                assert_never(message)
        if not self._slots.in_flight:
            while self._until_idle:
                self._until_idle.pop().reply.answer(None)

    def _take_in(self, catalog: Catalog) -> None:
        self._health.take_in(self._catalog.endpoints, catalog.endpoints, self._clock())
        self._candidates.take_in(catalog)
        self._slots.retain(catalog.endpoints)
        self._throughput.retain(lambda model: bool(catalog.offering(model)), self._clock())
        for model in self._line.models():
            self._serve(model, self._clock())

    def _close_line(self) -> None:
        self._closed = True
        for model in self._line.models():
            for waiter in self._line.queue(model):
                if waiter.arrival is None:
                    waiter.reply.answer(Closed())
            self._line.prune(model)

    # -- a request: granted, in line, or refused

    def _consider(self, request: WaitForReady) -> None:
        request.place = next(self._places) if request.arrival is None else request.arrival
        now_s = request.joined_at_s = request.not_before_s = self._clock()
        # First into the line, then the line is served: whoever is not first stays behind.
        self._line.join(request)
        self._serve(request.model, now_s)
        if request.wanted and not request.patient:
            self._line.leave(request)
            request.reply.answer(Timeout())
            return
        if request.wanted and request.arrival is None:
            self._judge_place(request)
        if request.wanted:
            request.on_arrival = self._candidates.view_now(request, now_s)

    def _judge_place(self, request: WaitForReady) -> None:
        """Whether *request* may keep its place, now that no slot was free."""
        waiters = len(self._line) - 1
        decision: AdmissionDecision = Accept() if waiters < request.limit else Reject()
        graded = request.decide is not None and request.limit >= SMALLEST_GRADED_LIMIT
        if graded and request.decide is not None and isinstance(decision, Accept):
            decision = request.decide(waiters, request.limit)
        match decision:
            case Accept():
                return
            case AcceptWithDelay(delay_ms):
                request.not_before_s = self._clock() + delay_ms / 1000
                self._tell_later(delay_ms / 1000, DelayOver(request.model))
            case Reject():
                self._line.leave(request)
                retry_s = self._candidates.retry_after_s(
                    request,
                    waiters_ahead=self._line.waiting_for(request.model),
                    completions_per_s=self._throughput.per_s(request.model, self._clock()),
                )
                request.reply.answer(CapacityExceeded(waiters, retry_s))
            case _:
                assert_never(decision)

    def _tell_later(self, delay_s: float, message: Message) -> None:
        async def tell() -> None:
            await trio.sleep(delay_s)
            with suppress(ActorGone):
                self._mailbox.tell(message)

        self._timers.start_soon(tell)

    # -- the line of one model

    def _serve(self, model: str, now_s: float) -> None:
        """Grant to as many of *model*'s waiters as there is room for, in their order."""
        blocked = False
        for waiter in self._line.queue(model):
            if not waiter.wanted or (blocked and waiter.only is None):
                continue
            best_first, failing_open = self._candidates.at_once(waiter, now_s), False
            if self._closed or not best_first:
                choice = self._candidates.choice(waiter, now_s)
                refusal = self._candidates.refusal(waiter, choice, closed=self._closed)
                if refusal is not None:
                    waiter.reply.answer(refusal)
                    continue
                failing_open = choice.failing_open
                best_first = best_first or self._candidates.after_all(waiter, choice, now_s)
            if blocked:
                continue
            if waiter.not_before_s > now_s:
                blocked = waiter.only is None  # and all behind it: first come, first served
            elif waiter.arrival is not None and not self._retries.allows(len(self._out)):
                self._withheld = True  # it waits, and nobody behind it does
            elif best_first:
                view = self._candidates.view(waiter, best_first, now_s, failing_open=failing_open)
                self._grant(waiter, best_first[0], view, now_s)
            else:
                blocked = not waiter.choosy  # no room for it, so none for those behind it
        self._line.prune(model)

    def _serve_those_for(self, endpoint_id: EndpointId) -> None:
        """Grant what *endpoint_id* has room for, whatever the model: who waits longest first."""
        for model in self._line.models():
            if endpoint_id in self._catalog.reach(model).own_ids:
                self._serve(model, self._clock())

    def _grant(self, waiter: WaitForReady, best: Endpoint, view: View, now_s: float) -> None:
        """Give *waiter* a lease on *best*, which has room."""
        own_id = self._catalog.own_id(best, waiter.model)
        # No circuit that opens later is closed by it, nor is a retry counted that is none.
        awaited = waiter.arrival is not None or self._health.circuits.is_open(best.id)
        lease = Lease(next(self._serials), best, own_id, waiter.place, self, awaited=awaited)
        ready = Ready(lease, now_s - waiter.joined_at_s, view, waiter.on_arrival)
        if waiter.reply.answer(ready):
            self._slots.take(lease.serial, best.id)
            self._health.circuits.granted(lease.serial, best.id, now_s)
            self._out[lease.serial] = waiter.model, best
            if waiter.arrival is not None:
                self._retries.take(lease.serial)

    def view(
        self,
        model: str,
        api: Api,
        *,
        excluding: AbstractSet[EndpointId] = frozenset(),
        tried: AbstractSet[EndpointId] = frozenset(),
        only: EndpointId | None = None,
    ) -> View:
        """What a request would have to choose from now."""
        request = WaitForReady(model, api, 0, excluding, only=only, tried=tried)
        return self._candidates.view_now(request, self._clock())

    # -- leases coming back

    def _serve_withheld(self) -> None:
        """Grant to those whose next try had to wait for the tries of others."""
        if self._withheld:
            self._withheld = False
            for model in self._line.models():
                self._serve(model, self._clock())

    def _begin(self, serial: int) -> None:
        self._retries.settle(serial)
        self._serve_withheld()
        _, endpoint = self._out[serial]  # a lease that has been given back does not begin
        if self._catalog.still_has(endpoint) and self._health.circuits.begun(serial, endpoint.id):
            self._serve_those_for(endpoint.id)

    def _take_lease(self, back: Release) -> None:
        serial, outcome, now_s = back.serial, back.outcome, self._clock()
        if self._slots.give_back(serial) is None:
            return
        model, endpoint = self._out.pop(serial)
        self._retries.settle(serial)
        if outcome is Outcome.SUCCEEDED:
            self._throughput.completed(model, now_s)
        if self._catalog.still_has(endpoint):
            for pause_s in self._health.over(serial, endpoint.id, outcome, back.verdict, now_s):
                self._tell_later(pause_s, PauseOver(endpoint.id))
        self._serve_those_for(endpoint.id)
        self._serve_withheld()
