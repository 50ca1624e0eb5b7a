"""Which actors there are, and who tells whom."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import assert_never

import structlog
import trio

from llmlb.accounting import FinishedRequest, Outcome
from llmlb.accounts import KeyId
from llmlb.activity import HouseGauges, events_of
from llmlb.actors.admission import AdmissionController, CircuitChange, CircuitState
from llmlb.actors.audit import AuditLog, Retention
from llmlb.actors.feed import EventFeed
from llmlb.actors.history import History, Keeping
from llmlb.actors.jobs import JobOwner
from llmlb.actors.journal import Journal
from llmlb.actors.keyring import KeyRing
from llmlb.actors.latency import LatencyTracker, Observed
from llmlb.actors.mailbox import ActorGone
from llmlb.actors.prober import DeviceProber, Surveyor
from llmlb.actors.registry import EndpointRegistry
from llmlb.actors.responses import ResponseDirectory
from llmlb.audit import AuditEvent
from llmlb.catalog import Catalog
from llmlb.events import (
    AuditLogBroken,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    Draining,
    Event,
    StorageUnwell,
    StorageWell,
)
from llmlb.memory import Memory, remembered_by
from llmlb.name_tables import fallback_chain
from llmlb.recent import RecentRequests
from llmlb.records import RequestRecord
from llmlb.settings import Settings
from llmlb.store.health import Condition
from llmlb.store.opening import Store
from llmlb.types import DeviceReport, Endpoint, EndpointId, Survey
from llmlb.world import World

log = structlog.get_logger()


class House:
    """Builds the actors, wires them to one another, starts and stops them.

    The message graph is this class: whoever is told something is told it here.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        surveyor: Surveyor,
        memory: Memory,
        *,
        world: World,
        drop_connections: Callable[[EndpointId], None],
        on_answered: Callable[[RequestRecord], None],
    ) -> None:
        """Use `open_house`, which reads *memory* from the store."""
        self.settings, self.store, self.world = settings, store, world
        store.health.on_changed = self.database_changed
        self._drop_connections, self._on_answered = drop_connections, on_answered
        self.journal = Journal(store.statistics, memory.totals, memory.requests, memory.minutes)
        self.latency = LatencyTracker(
            memory.latencies, on_measured=self.journal.latency_is, clock=world.clock
        )
        self.responses = ResponseDirectory(
            memory.responses, on_changed=self.journal.response_is, now=world.now
        )
        self.admission = AdmissionController(
            standings=self.latency.standings,
            clock=world.clock,
            rng=world.rng,
            on_circuit=self.circuit_changed,
        )
        self.prober = DeviceProber(
            surveyor,
            self,
            resync_interval_s=settings.model_sync_interval_s,
            rng=world.rng,
            clock=world.clock,
        )
        self.registry = EndpointRegistry(
            store.endpoints,
            memory.endpoints,
            listener=self,
            standings=self.latency.standings,
            aliases=dict(settings.model_aliases),
            now=world.now,
            clock=world.clock,
        )
        self.keyring = KeyRing(store.accounts, memory.accounts)
        self.audit = AuditLog(
            store.audit,
            memory.audit_end,
            retention=Retention(settings.audit_retention_days, settings.audit_max_entries),
            now=world.now,
            clock=world.clock,
            on_broken=self.audit_broken,
        )
        self.history = History(
            store.history,
            keeping=Keeping(
                settings.request_history_retention_days,
                settings.history_max_rows,
                settings.history_max_bytes,
            ),
            now=world.now,
        )
        self.recent = RecentRequests()
        self.jobs = JobOwner(
            on_event=self.tell_event,
            on_downloaded=self.downloaded,
            now=world.now,
            clock=world.clock,
            new_id=world.new_id,
        )
        gauges = HouseGauges(
            self.admission.statistics, self.journal.totals, lambda: self.registry.catalog
        )
        self.feed = EventFeed(self.registry.catalog.endpoints, now=world.now, gauges=gauges)
        self._fallbacks = dict(settings.model_fallbacks)
        self._draining = False
        self._closing = trio.Event()
        self._background: trio.Nursery

    # -- the registry tells. Nobody minds an actor that has stopped before the teller: either
    # the house is closing, or it is falling, and then as a whole.

    def catalog_changed(self, catalog: Catalog) -> None:
        with suppress(ActorGone):
            self.admission.catalog_changed(catalog)
        with suppress(ActorGone):
            self.feed.catalog_changed(catalog)

    def watch(self, endpoint: Endpoint, *, at_once: bool) -> None:
        with suppress(ActorGone):
            self.prober.watch(endpoint, at_once=at_once)

    def unwatch(self, endpoint_id: EndpointId) -> None:
        with suppress(ActorGone):
            self.prober.unwatch(endpoint_id)

    def went_offline(self, endpoint_id: EndpointId) -> None:
        with suppress(ActorGone):
            self.latency.went_offline(endpoint_id)

    def forget(self, endpoint_id: EndpointId) -> None:
        self._drop_connections(endpoint_id)
        with suppress(ActorGone):
            self.latency.forget(endpoint_id)
        with suppress(ActorGone):
            self.jobs.endpoint_gone(endpoint_id)

    # -- the prober tells

    def probed(self, endpoint: Endpoint, failure: str | None) -> None:
        with suppress(ActorGone):
            self.registry.probed(endpoint, failure)

    def synced(self, endpoint: Endpoint, survey: Survey) -> None:
        with suppress(ActorGone):
            self.registry.synced(endpoint, survey)

    def described(self, endpoint: Endpoint, device: DeviceReport) -> None:
        with suppress(ActorGone):
            self.registry.described(endpoint, device)

    def loaded(self, endpoint: Endpoint, models: frozenset[str] | None) -> None:
        with suppress(ActorGone):
            self.registry.loaded(endpoint, models)

    # -- admission tells

    def circuit_changed(self, change: CircuitChange) -> None:
        """The circuit of an endpoint has opened, is being tried, or has closed."""
        known = self.registry.catalog.endpoints.get(change.endpoint_id)
        name = change.endpoint_id if known is None else known.name
        match change.state:
            case CircuitState.OPEN:
                for_s = round(change.pause_s, 1)
                log.warning(
                    "a circuit has opened", endpoint=name, failures=change.failures, pause_s=for_s
                )
                opened = CircuitOpened(change.endpoint_id, name, change.failures, for_s)
                self.tell_event(opened)
            case CircuitState.HALF_OPEN:
                self.tell_event(CircuitHalfOpened(change.endpoint_id, name))
            case CircuitState.CLOSED:
                log.info("a circuit has closed", endpoint=name)
                self.tell_event(CircuitClosed(change.endpoint_id, name))
            case _:
                assert_never(change.state)

    # -- the store tells

    def database_changed(self, condition: Condition) -> None:
        """The database takes writes no more, or again."""
        reason = condition.reason
        self.tell_event(StorageWell() if reason is None else StorageUnwell(reason))
        if condition.well:
            with suppress(ActorGone):
                self.journal.hurry()
            with suppress(ActorGone):
                self.audit.hurry()
            with suppress(ActorGone):
                self.history.hurry()

    # -- the owner of the jobs tells

    def downloaded(self, endpoint_id: EndpointId) -> None:
        """The endpoint has one model more."""
        with suppress(ActorGone):
            self.prober.hurry(endpoint_id, resync=True)

    # -- the audit log tells

    def audit_broken(self, reason: str) -> None:
        """The chain of audit entries is not as it was written."""
        self.tell_event(AuditLogBroken(reason))

    # -- an exchange tells

    def finished(self, endpoint: Endpoint, request: FinishedRequest) -> None:
        """One attempt on *endpoint* has ended.

        It counts in any case. Its time counts only for the server that is still there.
        """
        still_there = self.registry.catalog.still_has(endpoint)
        with suppress(ActorGone):
            self.journal.record(request)
            if request.outcome is Outcome.SUCCEEDED and still_there:
                self.latency.observed(
                    Observed(
                        request.endpoint_id,
                        request.model,
                        request.api,
                        request.speed,
                        request.finished_at,
                    )
                )

    def answered(self, record: RequestRecord) -> None:
        """A client's request has come to its end, whatever that was."""
        self.recent.add(record)
        for event in events_of(record):
            self.tell_event(event)
        with suppress(ActorGone):
            self.journal.answered(record)
        with suppress(ActorGone):
            self.history.record(record)
        self._on_answered(record)

    def response_made(self, response_id: str, endpoint: Endpoint, owner: str | None) -> None:
        """*endpoint* keeps a response or conversation that *owner* (the id of a key) may ask for.

        To be told before the client is sent the id: then nobody can ask before it is known.
        """
        with suppress(ActorGone):
            self.responses.made(response_id, endpoint.id, owner)

    def response_gone(self, response_id: str) -> None:
        """Its endpoint has deleted it, or does not know it any more."""
        with suppress(ActorGone):
            self.responses.gone(response_id)

    def key_used(self, key_id: KeyId) -> None:
        """Somebody came in with this key just now."""
        with suppress(ActorGone):
            self.journal.key_used(key_id, self.world.now())

    def refused_us(self, endpoint: Endpoint, reason: str) -> None:
        """The endpoint does not accept our key."""
        with suppress(ActorGone):
            self.registry.failed(endpoint, reason)

    def suspect(self, endpoint: Endpoint, *, resync: bool = False) -> None:
        """A request failed in a way that a probe should look into."""
        with suppress(ActorGone):
            self.prober.hurry(endpoint.id, resync=resync)

    # -- whoever knows of something that operators would like to see

    def tell_event(self, event: Event) -> None:
        """Whoever follows the events is told of this one. Never blocks, and never fails."""
        with suppress(ActorGone):
            self.feed.happened(event)

    def tell_audit(self, event: AuditEvent) -> None:
        """The audit log is told of this deed. Never blocks, and never fails."""
        with suppress(ActorGone):
            self.audit.record(event)

    # -- life

    @property
    def open(self) -> bool:
        """New requests are welcome."""
        return not (self._draining or self._closing.is_set())

    def fallbacks_of(self, model: str) -> tuple[str, ...]:
        """What to try in place of *model*, in order, when no endpoint can serve it."""
        return fallback_chain(model, self._fallbacks)

    async def drain(self) -> None:
        """Answer the line, admit nothing new, return once the last lease is back.

        The caller bounds the time.
        """
        self._draining = True
        self.tell_event(Draining())
        with suppress(ActorGone):
            self.jobs.end_all()
        self.admission.refuse_all()
        with suppress(ActorGone):
            await self.admission.wait_until_idle()

    def start_soon(self, work: Callable[..., Awaitable[None]], *args: object) -> None:
        """Let *work* go on beside whoever began it, until the house closes. Raises ActorGone.

        It must raise nothing.
        """
        if self._closing.is_set():
            raise ActorGone
        self._background.start_soon(work, *args)

    async def _work_in_background(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with trio.open_nursery() as self._background:
            task_status.started()
            await self._closing.wait()
            self._background.cancel_scope.cancel()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run all actors until `close`; if one dies, the house falls as a whole.

        They stop in the order in which they tell one another: whoever is told stops after
        the teller, so nothing told is lost.
        """
        async with trio.open_nursery() as watching:
            watching.start_soon(self.store.watch)
            async with trio.open_nursery() as last:
                await last.start(self.journal.run)
                await last.start(self.feed.run)
                await last.start(self.audit.run)
                await last.start(self.history.run)
                async with trio.open_nursery() as middle:
                    await middle.start(self.latency.run)
                    await middle.start(self.responses.run)
                    await middle.start(self.admission.run)
                    await middle.start(self._work_in_background)
                    async with trio.open_nursery() as first:
                        await first.start(self.jobs.run)
                        await first.start(self.prober.run)
                        await first.start(self.registry.run)
                        await first.start(self.keyring.run)
                        task_status.started()
                        await self._closing.wait()
                        self.jobs.close()
                        self.prober.close()
                        self.registry.close()
                        self.keyring.close()
                    self.latency.close()
                    self.responses.close()
                    self.admission.close()
                self.journal.close()
                self.audit.close()
                self.history.close()
                self.feed.close()
            watching.cancel_scope.cancel()

    def end_events(self) -> None:
        """Whoever follows the events is told that this was all; nobody waits for them."""
        with suppress(ActorGone):
            self.feed.end()

    def close(self) -> None:
        """Stop probing, take in what was told, write it, stop; `run` returns then."""
        self.end_events()
        self._closing.set()


async def open_house(
    settings: Settings,
    store: Store,
    surveyor: Surveyor,
    *,
    world: World | None = None,
    drop_connections: Callable[[EndpointId], None] = lambda _: None,
    on_answered: Callable[[RequestRecord], None] = lambda _: None,
) -> House:
    """Build a house on what the store remembers. Raises StoreUnavailable.

    *drop_connections* is told of endpoints that are gone or have moved, *on_answered* of each
    request of a client that has come to its end; neither may block, or fail.
    """
    memory = await remembered_by(store)
    return House(
        settings,
        store,
        surveyor,
        memory,
        world=world or World(),
        drop_connections=drop_connections,
        on_answered=on_answered,
    )
