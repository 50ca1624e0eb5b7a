"""Which actors there are, and how they start and stop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from llmlb.activity import HouseGauges
from llmlb.actors.admission import AdmissionController
from llmlb.actors.audit import AuditLog, Retention
from llmlb.actors.feed import EventFeed
from llmlb.actors.history import History, Keeping
from llmlb.actors.jobs import JobOwner
from llmlb.actors.journal import Journal
from llmlb.actors.keyring import KeyRing
from llmlb.actors.latency import LatencyTracker
from llmlb.actors.mailbox import ActorGone
from llmlb.actors.prober import DeviceProber, Surveyor
from llmlb.actors.registry import EndpointRegistry
from llmlb.actors.responses import ResponseDirectory
from llmlb.events import Draining
from llmlb.memory import Memory, remembered_by
from llmlb.name_tables import fallback_chain
from llmlb.recent import RecentRequests
from llmlb.records import RequestRecord
from llmlb.settings import Settings
from llmlb.store.opening import Store
from llmlb.types import EndpointId
from llmlb.wiring import Wiring
from llmlb.world import World


class House(Wiring):
    """Builds the actors, and starts and stops them."""

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
            self.admission.statistics,
            lambda: self.journal.requests,
            lambda: self.registry.catalog,
        )
        self.feed = EventFeed(self.registry.catalog.endpoints, now=world.now, gauges=gauges)
        self._fallbacks = dict(settings.model_fallbacks)
        self._draining = False
        self._closing = trio.Event()
        self._background: trio.Nursery

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
