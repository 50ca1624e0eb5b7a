"""Who may start a request now, who waits in line, and who is turned away."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from itertools import count
from typing import assert_never

import trio

from llmlb.accounting import Lease, Outcome
from llmlb.actors.admission.line import Line
from llmlb.actors.admission.messages import (
    CatalogChanged,
    Close,
    Decide,
    DelayOver,
    Message,
    Release,
    WaitForReady,
    WaitUntilIdle,
)
from llmlb.actors.admission.results import (
    CapacityExceeded,
    Closed,
    ModelUnknown,
    NoneCapable,
    Ready,
    Timeout,
    WaitResult,
)
from llmlb.actors.admission.slots import Slots
from llmlb.actors.admission.statistics import AdmissionStatistics
from llmlb.actors.admission.throughput import Throughput
from llmlb.actors.mailbox import ActorGone, Mailbox
from llmlb.catalog import Catalog
from llmlb.routing import (
    Accept,
    AcceptWithDelay,
    AdmissionDecision,
    Reject,
    Standings,
    eligible,
    hopeful,
    order,
    retry_after_s,
)
from llmlb.types import Api, Endpoint, EndpointId, Mode

SMALLEST_GRADED_LIMIT = 5
"""Below this many places the steps of admission control would be fractions of a place."""


class AdmissionController:
    """Owns the leases and the line; one message decides one request, in one step."""

    def __init__(
        self, *, standings: Standings, clock: Callable[[], float] = trio.current_time
    ) -> None:
        """*standings* is read at each decision; *clock* tells monotonic seconds."""
        self._mailbox = Mailbox[Message]()
        self._standings, self._clock = standings, clock
        self._catalog = Catalog.of({})
        self._slots, self._line, self._throughput = Slots(), Line[WaitForReady](), Throughput()
        self._model_of: dict[int, str] = {}
        self._serials, self._places = count(1), count(1)
        self._closed = False
        self._until_idle: list[WaitUntilIdle] = []
        self._timers: trio.Nursery

    async def wait_for_ready(
        self,
        model: str,
        api: Api,
        limit: int,
        *,
        excluding: AbstractSet[EndpointId] = frozenset(),
        only: EndpointId | None = None,
        decide: Decide | None = None,
        arrival: int | None = None,
    ) -> WaitResult:
        """Wait in line until an endpoint of *model* has room. Cancel to give up the place.

        At most *limit* callers wait, over all models; a free slot needs no place. *decide*
        grades the line where it has at least five places. One that asks again, *excluding*
        the endpoints that failed it, keeps its *arrival* and is refused for neither a full
        line nor a closing one. With *only*, no other endpoint is considered.
        Raises ActorGone.
        """
        return await self._mailbox.ask(
            WaitForReady(model, api, limit, excluding, decide, arrival, only)
        )

    async def wait_for_ready_with_timeout(
        self,
        model: str,
        api: Api,
        limit: int,
        timeout_s: float,
        *,
        excluding: AbstractSet[EndpointId] = frozenset(),
        only: EndpointId | None = None,
        decide: Decide | None = None,
        arrival: int | None = None,
    ) -> WaitResult:
        """`wait_for_ready` for at most *timeout_s*, then Timeout. Raises ActorGone.

        With 0 seconds a free slot is still granted, but nobody waits.
        """
        if timeout_s <= 0:
            now = WaitForReady(
                model, api, limit, excluding, arrival=arrival, only=only, patient=False
            )
            return await self._mailbox.ask(now)
        with trio.move_on_after(timeout_s):
            return await self.wait_for_ready(
                model,
                api,
                limit,
                excluding=excluding,
                only=only,
                decide=decide,
                arrival=arrival,
            )
        return Timeout()

    def catalog_changed(self, catalog: Catalog) -> None:
        self._mailbox.tell(CatalogChanged(catalog))

    def refuse_all(self) -> None:
        """Answer the line with Closed, and everyone new who comes later; leases go on."""
        self._mailbox.tell(Close())

    async def wait_until_idle(self) -> None:
        """Return once no lease is out. Raises ActorGone. Cancel to give up."""
        await self._mailbox.ask(WaitUntilIdle())

    def close(self) -> None:
        self._mailbox.close()

    def statistics(self) -> AdmissionStatistics:
        return AdmissionStatistics(
            dict(self._slots.in_flight), self._line.by_model(), self._mailbox.statistics()
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as self._timers:
            await self._mailbox.serve(self._handle, task_status=task_status)
            self._timers.cancel_scope.cancel()

    def _handle(self, message: Message) -> None:
        match message:
            case WaitForReady():
                self._consider(message)
            case Release(serial, outcome):
                self._give_back(serial, outcome)
            case CatalogChanged(catalog):
                self._take_in(catalog)
            case DelayOver(model):
                self._serve(model, self._clock())
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
        self._catalog = catalog
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
        elif request.wanted and request.arrival is None:
            self._judge_place(request)

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
                self._timers.start_soon(self._tell_later, delay_ms / 1000, request.model)
            case Reject():
                self._line.leave(request)
                retry_s = self._retry_after_s(request)
                request.reply.answer(CapacityExceeded(waiters, retry_s))
            case _:
                assert_never(decision)

    async def _tell_later(self, delay_s: float, model: str) -> None:
        await trio.sleep(delay_s)
        with suppress(ActorGone):
            self._mailbox.tell(DelayOver(model))

    # -- the line of one model

    def _serve(self, model: str, now_s: float) -> None:
        """Grant to as many of *model*'s waiters as there is room for, in their order."""
        blocked = False
        for waiter in self._line.queue(model):
            if not waiter.wanted or (blocked and waiter.only is None):
                continue
            refusal = self._refusal(waiter)
            if refusal is not None:
                waiter.reply.answer(refusal)
            elif blocked:
                continue
            elif waiter.not_before_s > now_s:
                blocked = waiter.only is None  # and all behind it: first come, first served
            elif not self._grant(waiter, now_s):
                blocked = not waiter.choosy  # no room for it, so none for those behind it
        self._line.prune(model)

    def _offering(self, request: WaitForReady) -> tuple[Endpoint, ...]:
        """The endpoints that *request* is about."""
        found = self._catalog.offering(request.model)
        if request.only is None:
            return found
        return tuple(e for e in found if e.id == request.only)

    def _refusal(self, waiter: WaitForReady) -> WaitResult | None:
        """Why waiting would be in vain, if it would."""
        if self._closed and waiter.arrival is None:
            return Closed()
        offering = self._offering(waiter)
        if not offering:
            return ModelUnknown()
        if hopeful(e for e in offering if e.id not in waiter.excluding):
            return None
        enabled = [e for e in offering if e.mode is Mode.ENABLED]
        interval_s = min((e.health_check_interval_s for e in enabled), default=60)
        return NoneCapable(max(1, min(60, round(interval_s))))

    def _grant(self, waiter: WaitForReady, now_s: float) -> bool:
        """Give *waiter* a lease on the best endpoint that has room, if there is one."""
        own_ids = self._catalog.reach(waiter.model).own_ids
        with_room = [
            e
            for e in eligible(self._offering(waiter))
            if e.id not in waiter.excluding and self._slots.has_room(e)
        ]
        best_first = order(
            with_room,
            own_id=lambda e: own_ids[e.id],
            api=waiter.api,
            standings=self._standings,
            in_flight=self._slots.in_flight,
            last_turn=self._slots.last_turn,
            now_s=now_s,
        )
        if not best_first:
            return False
        best = best_first[0]
        lease = Lease(next(self._serials), best, own_ids[best.id], waiter.place, self._release)
        if waiter.reply.answer(Ready(lease, now_s - waiter.joined_at_s)):
            self._slots.take(lease.serial, best.id)
            self._model_of[lease.serial] = waiter.model
        return True

    # -- leases coming back

    def _release(self, serial: int, outcome: Outcome) -> None:
        with suppress(ActorGone):  # no owner left to give it back to
            self._mailbox.tell(Release(serial, outcome))

    def _give_back(self, serial: int, outcome: Outcome) -> None:
        endpoint_id = self._slots.give_back(serial)
        if endpoint_id is None:
            return
        model = self._model_of.pop(serial)
        if outcome is Outcome.SUCCEEDED:
            self._throughput.completed(model, self._clock())
        # The slot may serve any model of that endpoint: whoever has waited longest goes first.
        for waiting_model in self._line.models():
            if any(e.id == endpoint_id for e in self._catalog.offering(waiting_model)):
                self._serve(waiting_model, self._clock())

    def _retry_after_s(self, request: WaitForReady) -> int:
        now_s, model = self._clock(), request.model
        own_ids = self._catalog.reach(model).own_ids
        standings = [
            s
            for e in self._offering(request)
            if (s := self._standings.standing(e.id, own_ids[e.id], request.api)) is not None
        ]
        return retry_after_s(
            waiters_ahead=self._line.waiting_for(model),
            completions_per_s=self._throughput.per_s(model, now_s),
            latency_ms=min((s.latency_ms for s in standings), default=None),
        )
