"""How everything is at the moment of a scrape, read from the views that actors publish."""

from __future__ import annotations

import math
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from llmlb import __version__
from llmlb.accounting import Totals
from llmlb.actors.admission import CircuitState
from llmlb.actors.admission.health import EndpointHealth
from llmlb.actors.mailbox import MailboxStatistics
from llmlb.house import House
from llmlb.http.bodies import BodyBudget
from llmlb.http.metrics.models import ModelLabels
from llmlb.types import Endpoint, Status

Family = CounterMetricFamily | GaugeMetricFamily | InfoMetricFamily
Sample = tuple[tuple[str, ...], float]
_Labelled = TypeVar("_Labelled", CounterMetricFamily, GaugeMetricFamily)

CIRCUIT: Mapping[CircuitState, int] = MappingProxyType(
    {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}
)

_WELL = EndpointHealth()


class HouseViews(Collector):
    """Reads the house; owns nothing. Endpoints go by their names, of which no two are alike.

    An endpoint that is removed takes its series with it, and one that is renamed has new ones.
    """

    def __init__(self, house: House, bodies: BodyBudget, models: ModelLabels) -> None:
        self._house, self._bodies, self._models = house, bodies, models

    def describe(self) -> Iterable[Family]:
        """Nothing: what there is depends on nothing that is known beforehand."""
        return ()

    def collect(self) -> Iterator[Family]:
        """Each family is of one moment; between two of them others may work."""
        yield from self._process()
        yield from self._line()
        yield from self._endpoints()
        yield from self._totals()
        yield from self._internals()

    def _process(self) -> Iterator[Family]:
        yield InfoMetricFamily(
            "llmlb_build",
            "What is running.",
            {"version": __version__, "python": platform.python_version()},
        )
        yield _gauge("llmlb_accepting", "1: new requests are welcome.", self._house.open)
        well = self._house.store.health.condition.well
        yield _gauge("llmlb_database_up", "1: the database takes writes.", well)

    def _line(self) -> Iterator[Family]:
        now = self._house.admission.statistics()
        by_label = Counter[str]()
        for model, waiting in now.waiting.items():
            by_label[self._models.label(model, None, self._house.registry.catalog)] += waiting
        yield _family(
            GaugeMetricFamily,
            "llmlb_line_length",
            "Requests in line.",
            ("model",),
            (((label,), n) for label, n in by_label.items()),
        )
        most = self._house.settings.queue_max
        yield _gauge("llmlb_line_limit", "Most requests in line, over all models.", most)
        yield _gauge(
            "llmlb_retries", "Requests in flight that have failed elsewhere before.", now.retrying
        )

    def _endpoints(self) -> Iterator[Family]:
        now, catalog = self._house.admission.statistics(), self._house.registry.catalog
        endpoints = catalog.endpoints.values()
        standings = self._house.latency.standings

        def each(
            name: str, says: str, values: Iterable[tuple[Endpoint, float | None]]
        ) -> GaugeMetricFamily:
            told = (((e.name,), value) for e, value in values if value is not None)
            return _family(GaugeMetricFamily, name, says, ("endpoint",), told)

        def health(endpoint: Endpoint) -> EndpointHealth:
            return now.health.get(endpoint.id, _WELL)

        def latency_s(endpoint: Endpoint) -> float | None:
            ms = standings.latency_ms(endpoint.id)
            return None if ms is None or math.isinf(ms) else ms / 1000

        by_status = Counter(endpoint.status for endpoint in endpoints)
        yield _family(
            GaugeMetricFamily,
            "llmlb_endpoints",
            "Endpoints, by what the last probes said of them.",
            ("status",),
            (((status.value,), by_status[status]) for status in Status),
        )
        yield _gauge("llmlb_models", "Names of models that are listed.", len(catalog.by_model))
        info = InfoMetricFamily("llmlb_endpoint", "Which endpoint it is.", labels=("endpoint",))
        for e in endpoints:
            engine = "" if e.engine is None else e.engine.value
            about = {"endpoint_id": e.id, "engine": engine, "mode": e.mode.value}
            info.add_metric((e.name,), about)
        yield info
        yield each(
            "llmlb_endpoint_up",
            "1: it is online.",
            ((e, e.status is Status.ONLINE) for e in endpoints),
        )
        yield each(
            "llmlb_endpoint_leases",
            "Requests that run on it.",
            ((e, now.in_flight.get(e.id, 0)) for e in endpoints),
        )
        yield each(
            "llmlb_endpoint_capacity",
            "Requests that may run on it at once.",
            ((e, e.capacity) for e in endpoints),
        )
        yield each(
            "llmlb_endpoint_latency_seconds",
            "EMA of its response times; none while it is offline or not measured.",
            ((e, latency_s(e)) for e in endpoints),
        )
        yield each(
            "llmlb_endpoint_circuit_state",
            "0: closed, 1: half open, 2: open.",
            ((e, CIRCUIT[health(e).state]) for e in endpoints),
        )
        yield each(
            "llmlb_endpoint_cooling_seconds",
            "For so long it has asked to be given nothing.",
            ((e, health(e).cools_s) for e in endpoints),
        )

    def _totals(self) -> Iterator[Family]:
        totals = self._house.journal.totals
        known = [
            (endpoint.name, totals.get(endpoint.id, Totals()))
            for endpoint in self._house.registry.catalog.endpoints.values()
        ]
        yield _family(
            CounterMetricFamily,
            "llmlb_endpoint_requests",
            "What it was given since it was registered, by how that ended.",
            ("endpoint", "outcome"),
            (
                ((name, outcome), value)
                for name, of in known
                for outcome, value in (
                    ("succeeded", of.successful_requests),
                    ("failed", of.failed_requests),
                    ("cancelled", of.cancelled_requests),
                )
            ),
        )
        yield _family(
            CounterMetricFamily,
            "llmlb_endpoint_tokens",
            "Tokens since it was registered.",
            ("endpoint", "type"),
            (
                ((name, kind), value)
                for name, of in known
                for kind, value in (("input", of.input_tokens), ("output", of.output_tokens))
            ),
        )
        yield _family(
            CounterMetricFamily,
            "llmlb_endpoint_busy_seconds",
            "Response times of the requests that succeeded, added up since it was registered.",
            ("endpoint",),
            (((name,), of.total_duration_ms / 1000) for name, of in known),
        )

    def _internals(self) -> Iterator[Family]:
        house, feed = self._house, self._house.feed.statistics()
        yield _gauge(
            "llmlb_journal_backlog", "Rows of statistics to be written.", house.journal.backlog
        )
        history = house.history.statistics()
        yield _gauge("llmlb_history_backlog", "Requests to be written.", history.waiting)
        yield _counter("llmlb_history_written", "Requests that were written.", history.written)
        yield _counter(
            "llmlb_history_dropped",
            "Requests that could not be written in time, and are lost.",
            history.dropped,
        )
        yield _gauge("llmlb_audit_backlog", "Audit events to be written.", house.audit.backlog)
        yield _gauge("llmlb_feed_subscribers", "Clients that follow the events.", feed.subscribers)
        yield _counter("llmlb_feed_events", "Events since the start.", feed.events)
        yield _gauge(
            "llmlb_body_memory_bytes", "Of requests' bodies in memory.", self._bodies.held_bytes
        )
        yield _gauge(
            "llmlb_body_memory_limit_bytes",
            "Of requests' bodies in memory, at most.",
            self._bodies.limit_bytes,
        )
        mailboxes = mailboxes_of(house)
        yield _family(
            GaugeMetricFamily,
            "llmlb_mailbox_messages",
            "Messages that an actor has not handled yet.",
            ("actor",),
            (((actor,), mailbox.waiting) for actor, mailbox in mailboxes.items()),
        )
        yield _family(
            GaugeMetricFamily,
            "llmlb_mailbox_peak_messages",
            "The most messages that ever waited for an actor.",
            ("actor",),
            (((actor,), mailbox.high_water) for actor, mailbox in mailboxes.items()),
        )


def mailboxes_of(house: House) -> dict[str, MailboxStatistics]:
    """How full the mailbox of each actor is."""
    return {
        "admission": house.admission.statistics().mailbox,
        "audit": house.audit.mailbox_statistics(),
        "feed": house.feed.statistics().mailbox,
        "history": house.history.mailbox_statistics(),
        "jobs": house.jobs.mailbox_statistics(),
        "journal": house.journal.mailbox_statistics(),
        "keyring": house.keyring.mailbox_statistics(),
        "latency": house.latency.mailbox_statistics(),
        "prober": house.prober.mailbox_statistics(),
        "registry": house.registry.mailbox_statistics(),
        "responses": house.responses.mailbox_statistics(),
    }


def _counter(name: str, says: str, value: float) -> CounterMetricFamily:
    counter = CounterMetricFamily(name, says)
    counter.add_metric((), value)
    return counter


def _gauge(name: str, says: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, says, value)


def _family(
    kind: type[_Labelled], name: str, says: str, labels: tuple[str, ...], samples: Iterable[Sample]
) -> _Labelled:
    family = kind(name, says, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family
