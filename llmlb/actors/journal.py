"""What is still to be written of what happened, and the totals so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import assert_never

import structlog
import trio
from msgspec import Struct

from llmlb.accounting import NOTHING_COUNTED, FinishedRequest, Totals
from llmlb.accounts import KeyId
from llmlb.actors.backlog import Backlog
from llmlb.actors.burst_store import BurstStore
from llmlb.actors.mailbox import Ask, Mailbox, MailboxStatistics
from llmlb.actors.spent import usage_of
from llmlb.actors.write_schedule import Due, WriteSchedule, Written
from llmlb.errors import LbError
from llmlb.minutes import MinuteCount, MinuteHistory
from llmlb.records import RequestRecord
from llmlb.store.burst import Burst, StatKey, UsageKey
from llmlb.store.sums import Group, Unit, Wanted, with_unwritten
from llmlb.types import Api, EndpointId, Whereabouts

log = structlog.get_logger()

WRITE_BEHIND_S = 0.5
"""How long a burst gathers; with the write itself it stays under a second."""

CLOSING_WRITE_LIMIT_S = 5.0


class Record(Struct, frozen=True):
    request: FinishedRequest


class Answered(Struct, frozen=True):
    """A client's request is over."""

    record: RequestRecord


class LatencyIs(Struct, frozen=True):
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


class KeyUsed(Struct, frozen=True):
    key_id: KeyId
    at: datetime


@dataclass(slots=True, eq=False)
class Flush(Ask[bool]):
    """Write now; answered with whether it could be written."""


@dataclass(frozen=True, slots=True)
class Hurry:
    """The store takes writes again."""


Message = Record | Answered | LatencyIs | ResponseIs | KeyUsed | Flush | Hurry | Due | Written


class Journal:
    """Owns what is not written yet, the totals since the first day, and those of the last hour.

    Writes behind: one transaction per burst, never on the path of a request. What the store
    refuses is merged with what comes since, and tried again for as long as it takes: what waits
    is bounded in size, so there is nothing to be gained by giving it up.
    """

    def __init__(
        self,
        store: BurstStore,
        totals: Mapping[EndpointId, Totals],
        requests: Totals = NOTHING_COUNTED,
        minutes: Iterable[tuple[datetime, MinuteCount]] = (),
    ) -> None:
        self._mailbox = Mailbox[Message]()
        self._store = store
        self._totals = dict(totals)
        self.totals: Mapping[EndpointId, Totals] = MappingProxyType(self._totals)
        self.requests = requests
        """All that clients have asked for; of *totals*, a request may be several, or none."""
        self._minutes = MinuteHistory(minutes)
        self._key_uses: dict[KeyId, datetime] = {}
        self.key_uses: Mapping[KeyId, datetime] = MappingProxyType(self._key_uses)
        """When keys were used last, since the start; no key is ever made up, so they are few."""
        self._gathering = Backlog()
        self._on_its_way: Burst | None = None
        """What is being written, until it is known to be in the database, or not."""
        self._lost_requests = 0
        self._schedule = WriteSchedule(
            after_s=WRITE_BEHIND_S,
            tell=self._mailbox.tell,
            waiting=lambda: bool(self._gathering),
            write=self._write,
            told=("statistics could not be written and wait", "statistics are written again"),
            figures=lambda: {"lost_requests": self._lost_requests},
        )

    def record(self, request: FinishedRequest) -> None:
        self._mailbox.tell(Record(request))

    def answered(self, record: RequestRecord) -> None:
        """A client's request is over."""
        self._mailbox.tell(Answered(record))

    def last_hour(self, now: datetime) -> Mapping[datetime, MinuteCount]:
        """How the requests of the last 60 minutes ended, the oldest minute first."""
        return self._minutes.last_hour(now)

    async def sums(self, wanted: Wanted) -> dict[Group, Totals]:
        """What is *wanted*, written or not. Raises StoreUnavailable.

        It agrees with *totals* and *requests* as they are at the return.
        """
        stored = await self._store.sums(wanted)
        # From here on without an await: what has come into the database since is still on its way.
        bursts = (self._on_its_way, self._gathering.burst())
        rows: list[tuple[StatKey | UsageKey, Totals]] = []
        for burst in bursts:
            if burst is not None:
                kept = burst.totals if wanted.unit is Unit.ATTEMPTS else burst.usage
                rows.extend(kept.items())
        return with_unwritten(stored, wanted, rows)

    def latency_is(
        self, endpoint_id: EndpointId, model: str | None, api: Api | None, latency_ms: float
    ) -> None:
        self._mailbox.tell(LatencyIs(endpoint_id, model, api, latency_ms))

    def response_is(self, response_id: str, whereabouts: Whereabouts | None) -> None:
        """Where a stored response lives from now on; None: it is gone."""
        self._mailbox.tell(ResponseIs(response_id, whereabouts))

    def key_used(self, key_id: KeyId, at: datetime) -> None:
        self._mailbox.tell(KeyUsed(key_id, at))

    def hurry(self) -> None:
        """Write what was refused without waiting for the end of the pause."""
        self._mailbox.tell(Hurry())

    async def flush(self) -> bool:
        """Write what there is; False if the store refused. Raises ActorGone."""
        return await self._mailbox.ask(Flush())

    @property
    def backlog(self) -> int:
        """How many rows wait to be written, or are being written."""
        on_its_way = 0 if self._on_its_way is None else len(self._on_its_way)
        return len(self._gathering) + on_its_way

    def mailbox_statistics(self) -> MailboxStatistics:
        return self._mailbox.statistics()

    def close(self) -> None:
        """Write what was told, then stop."""
        self._mailbox.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        error: Exception | None = None
        with trio.CancelScope() as closing:
            async with trio.open_nursery() as writes, trio.open_nursery() as timers:
                self._schedule.begin(timers, writes)
                await self._mailbox.serve(self._handle, task_status=task_status)
                closing.deadline = trio.current_time() + CLOSING_WRITE_LIMIT_S
                timers.cancel_scope.cancel()
            # A write that was under way has ended: it was that nursery's child. Whether it
            # worked is in no message any more, so _write keeps what failed.
            if self._gathering:
                error = await self._write()
        if closing.cancelled_caught:
            error = LbError(f"no answer within {CLOSING_WRITE_LIMIT_S:.0f} s")
        if error is not None:
            log.error("the last statistics were lost", reason=str(error))

    def _handle(self, message: Message) -> None:
        match message:
            case Record(request):
                known = self._totals.get(request.endpoint_id, NOTHING_COUNTED)
                self._totals[request.endpoint_id] = known.plus(request)
                self._gathering.add(request)
                self._schedule.gather()
            case Answered(record):
                rows = tuple(usage_of(record))
                for _, totals in rows:
                    self.requests += totals
                self._gathering.use(rows)
                self._gathering.minute(*self._minutes.add(record.finished_at, record.outcome))
                self._schedule.gather()
            case LatencyIs():
                self._gathering.latency(
                    message.endpoint_id, message.model, message.api, message.latency_ms
                )
                self._schedule.gather()
            case ResponseIs(response_id, whereabouts):
                self._gathering.response(response_id, whereabouts)
                self._schedule.gather()
            case KeyUsed(key_id, at):
                self._key_uses[key_id] = at
                self._gathering.key_used(key_id, at)
                self._schedule.gather()
            case Flush():
                self._schedule.flush(message)
            case Hurry():
                self._schedule.hurry()
            case Due():
                self._schedule.handle(message)
            case Written(error):
                self._schedule.handle(message)
                self._lost_requests = self._lost_requests if error else 0
            case _:
                assert_never(message)

    async def _write(self) -> LbError | None:
        """Write what has gathered; what the store refuses goes on gathering."""
        self._count_what_is_lost()
        burst = self._on_its_way = self._gathering.burst()
        self._gathering = Backlog()
        try:
            await self._store.write(burst)
        except LbError as error:
            self._gathering.put_back(burst)
            self._count_what_is_lost()
            return error
        finally:
            # at once, and not when it is told: `sums` must neither miss it nor add it twice
            self._on_its_way = None
        return None

    def _count_what_is_lost(self) -> None:
        lost, self._gathering.lost_requests = self._gathering.lost_requests, 0
        if lost and not self._lost_requests:
            log.error("statistics are lost: too many wait, and the oldest go")
        self._lost_requests += lost
