"""Who tells whom: what actors tell one another, and what exchanges tell them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import assert_never

import structlog

from llmlb.accounting import FinishedRequest, Outcome
from llmlb.accounts import KeyId
from llmlb.activity import events_of
from llmlb.actors.admission import AdmissionController, CircuitChange, CircuitState
from llmlb.actors.audit import AuditLog
from llmlb.actors.feed import EventFeed
from llmlb.actors.history import History
from llmlb.actors.jobs import JobOwner
from llmlb.actors.journal import Journal
from llmlb.actors.keyring import KeyRing
from llmlb.actors.latency import LatencyTracker, Observed
from llmlb.actors.mailbox import ActorGone
from llmlb.actors.prober import DeviceProber
from llmlb.actors.registry import EndpointRegistry
from llmlb.actors.responses import ResponseDirectory
from llmlb.audit import AuditEvent
from llmlb.catalog import Catalog
from llmlb.events import (
    AuditLogBroken,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    Event,
    StorageUnwell,
    StorageWell,
)
from llmlb.recent import RecentRequests
from llmlb.records import RequestRecord
from llmlb.store.health import Condition
from llmlb.types import DeviceReport, Endpoint, EndpointId, Survey
from llmlb.world import World

log = structlog.get_logger()

KEY_USES_APART = timedelta(seconds=1)
"""Finer than that nobody wants to know when a key was used last."""


class Wiring:
    """The message graph: the house builds what it names, and whoever is told is told it here."""

    world: World
    journal: Journal
    latency: LatencyTracker
    responses: ResponseDirectory
    admission: AdmissionController
    prober: DeviceProber
    registry: EndpointRegistry
    keyring: KeyRing
    audit: AuditLog
    history: History
    recent: RecentRequests
    jobs: JobOwner
    feed: EventFeed
    _drop_connections: Callable[[EndpointId], None]
    _on_answered: Callable[[RequestRecord], None]

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
        if self.feed.followed:
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
        """Somebody came in with this key just now. Within a second, that is told once."""
        now, told = self.world.now(), self.journal.key_uses.get(key_id)
        if told is not None and told <= now < told + KEY_USES_APART:
            return
        with suppress(ActorGone):
            self.journal.key_used(key_id, now)

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
