"""What is still to be written of what happened, and the totals so far."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC
from types import MappingProxyType
from typing import Protocol, assert_never

import structlog
import trio

from llmlb.accounting import FinishedRequest, Totals
from llmlb.actors.mailbox import ActorGone, Ask, Mailbox
from llmlb.errors import LbError
from llmlb.store.burst import Burst, StatKey
from llmlb.types import MOST_STORED_RESPONSES, Api, EndpointId, Whereabouts

log = structlog.get_logger()

WRITE_BEHIND_S = 0.5
"""How long a burst gathers; with the write itself it stays under a second."""

RETRY_FIRST_S, RETRY_MOST_S = 1.0, 30.0
"""Pause after a failed write, doubling up to the second."""

CLOSING_WRITE_LIMIT_S = 5.0


class BurstStore(Protocol):
    """Where statistics and whereabouts outlive the process."""

    async def write(self, burst: Burst) -> None:
        """Write all of it or nothing, in bounded time. Raises StoreUnavailable.

        Cancelled, it has written nothing.
        """
        ...


@dataclass(frozen=True, slots=True)
class Record:
    request: FinishedRequest


@dataclass(frozen=True, slots=True)
class LatencyIs:
    """A new EMA in ms; without model and API it is the endpoint's own."""

    endpoint_id: EndpointId
    model: str | None
    api: Api | None
    latency_ms: float


@dataclass(frozen=True, slots=True)
class ResponseIs:
    """Where a stored response lives from now on; None: it is gone."""

    response_id: str
    whereabouts: Whereabouts | None


@dataclass(slots=True, eq=False)
class Flush(Ask[bool]):
    """Write now; answered with whether it could be written."""


@dataclass(frozen=True, slots=True)
class Due:
    """The burst has gathered for long enough."""


@dataclass(frozen=True, slots=True)
class Written:
    error: LbError | None


Message = Record | LatencyIs | ResponseIs | Flush | Due | Written


@dataclass(slots=True)
class _Gathering:
    """One burst as it grows.

    Bounded: an entry per (endpoint, model, API, day), not per request; and the newest words on
    stored responses, as many as are remembered.
    """

    totals: dict[StatKey, Totals] = field(default_factory=dict)
    latencies: dict[EndpointId, float] = field(default_factory=dict)
    model_latencies: dict[tuple[EndpointId, str, Api], float] = field(default_factory=dict)
    responses: OrderedDict[str, Whereabouts | None] = field(default_factory=OrderedDict)

    def __bool__(self) -> bool:
        return bool(self.totals or self.latencies or self.model_latencies or self.responses)

    def add(self, request: FinishedRequest) -> None:
        day = request.finished_at.astimezone(UTC).date()
        key = StatKey(request.endpoint_id, request.model, request.api, day)
        self.totals[key] = self.totals.get(key, Totals()).plus(request)

    def latency(self, measured: LatencyIs) -> None:
        if measured.model is None or measured.api is None:
            self.latencies[measured.endpoint_id] = measured.latency_ms
        else:
            key = (measured.endpoint_id, measured.model, measured.api)
            self.model_latencies[key] = measured.latency_ms

    def response(self, response_id: str, whereabouts: Whereabouts | None) -> None:
        self.responses[response_id] = whereabouts
        self.responses.move_to_end(response_id)
        # A word that is lost costs little: after a restart, a response that is gone is asked for
        # at its endpoint, which says so.
        if len(self.responses) > MOST_STORED_RESPONSES:
            self.responses.popitem(last=False)

    def put_back(self, burst: Burst) -> None:
        """Take in a burst that could not be written; what came since is newer."""
        for key, totals in burst.totals.items():
            self.totals[key] = totals + self.totals.get(key, Totals())
        self.latencies = {**burst.latencies, **self.latencies}
        self.model_latencies = {**burst.model_latencies, **self.model_latencies}
        newer, self.responses = self.responses, OrderedDict(burst.responses)
        for response_id, whereabouts in newer.items():
            self.response(response_id, whereabouts)

    def burst(self) -> Burst:
        return Burst(self.totals, self.latencies, self.model_latencies, self.responses)


class Journal:
    """Owns what is not written yet, and the totals per endpoint since the first day.

    Writes behind: one transaction per burst, never on the path of a request.
    """

    def __init__(self, store: BurstStore, totals: Mapping[EndpointId, Totals]) -> None:
        self._mailbox = Mailbox[Message]()
        self._store = store
        self._totals = dict(totals)
        self.totals: Mapping[EndpointId, Totals] = MappingProxyType(self._totals)
        self._gathering = _Gathering()
        self._writing: Burst | None = None
        self._timer: trio.CancelScope | None = None
        self._flushes: list[Flush] = []
        self._retry_s = RETRY_FIRST_S
        self._children: trio.Nursery

    def record(self, request: FinishedRequest) -> None:
        self._mailbox.tell(Record(request))

    def latency_is(
        self, endpoint_id: EndpointId, model: str | None, api: Api | None, latency_ms: float
    ) -> None:
        self._mailbox.tell(LatencyIs(endpoint_id, model, api, latency_ms))

    def response_is(self, response_id: str, whereabouts: Whereabouts | None) -> None:
        """Where a stored response lives from now on; None: it is gone."""
        self._mailbox.tell(ResponseIs(response_id, whereabouts))

    async def flush(self) -> bool:
        """Write what there is; False if the store refused. Raises ActorGone."""
        return await self._mailbox.ask(Flush())

    def close(self) -> None:
        """Write what was told, then stop."""
        self._mailbox.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        error: LbError | None = None
        with trio.CancelScope() as closing:
            async with trio.open_nursery() as self._children:
                await self._mailbox.serve(self._handle, task_status=task_status)
                closing.deadline = trio.current_time() + CLOSING_WRITE_LIMIT_S
                if self._timer is not None:
                    self._timer.cancel()
            # A write that was under way has ended: it was this nursery's child. Whether it
            # worked is in no message any more, so _write keeps what failed.
            if self._gathering:
                error = await self._try(self._gathering.burst())
        if closing.cancelled_caught:
            error = LbError(f"no answer within {CLOSING_WRITE_LIMIT_S:.0f} s")
        if error is not None:
            log.error("the last statistics were lost", reason=str(error))

    def _handle(self, message: Message) -> None:
        match message:
            case Record(request):
                known = self._totals.get(request.endpoint_id, Totals())
                self._totals[request.endpoint_id] = known.plus(request)
                self._gathering.add(request)
                self._set_timer(WRITE_BEHIND_S)
            case LatencyIs():
                self._gathering.latency(message)
                self._set_timer(WRITE_BEHIND_S)
            case ResponseIs(response_id, whereabouts):
                self._gathering.response(response_id, whereabouts)
                self._set_timer(WRITE_BEHIND_S)
            case Flush():
                self._flushes.append(message)
                self._start_write()
            case Due():
                self._timer = None
                self._start_write()
            case Written(error):
                self._finish_write(error)
            case _:
                assert_never(message)

    def _set_timer(self, seconds: float) -> None:
        if self._timer is None and self._writing is None:
            self._timer = trio.CancelScope()
            self._children.start_soon(self._wait, self._timer, seconds)

    async def _wait(self, timer: trio.CancelScope, seconds: float) -> None:
        with timer:
            await trio.sleep(seconds)
            with suppress(ActorGone):
                self._mailbox.tell(Due())

    def _start_write(self) -> None:
        if self._writing is not None:
            return
        if not self._gathering:
            self._answer_flushes(worked=True)
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._writing, self._gathering = self._gathering.burst(), _Gathering()
        self._children.start_soon(self._write, self._writing)

    async def _write(self, burst: Burst) -> None:
        error = await self._try(burst)
        if error is not None:
            self._gathering.put_back(burst)
        with suppress(ActorGone):
            self._mailbox.tell(Written(error))

    async def _try(self, burst: Burst) -> LbError | None:
        try:
            await self._store.write(burst)
        except LbError as error:
            return error
        return None

    def _finish_write(self, error: LbError | None) -> None:
        self._writing = None
        if error is not None:
            log.warning(
                "statistics could not be written", reason=str(error), retry_in_s=self._retry_s
            )
            self._answer_flushes(worked=False)
            self._set_timer(self._retry_s)
            self._retry_s = min(2 * self._retry_s, RETRY_MOST_S)
            return
        self._retry_s = RETRY_FIRST_S
        if self._flushes:
            self._start_write()  # what came while the write was under way
        elif self._gathering:
            self._set_timer(WRITE_BEHIND_S)

    def _answer_flushes(self, *, worked: bool) -> None:
        flushes, self._flushes = self._flushes, []
        for flush in flushes:
            flush.reply.answer(worked)
