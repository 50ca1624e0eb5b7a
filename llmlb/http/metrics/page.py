"""`/metrics`: everything that is measured, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import trio
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Metric,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from quart import Blueprint, Response, request

from llmlb.house import House
from llmlb.http.bodies import BodyBudget
from llmlb.http.metrics.connections import Connections, ConnectionViews
from llmlb.http.metrics.lag import LoopLag
from llmlb.http.metrics.models import ModelLabels
from llmlb.http.metrics.requests import RequestMetrics
from llmlb.http.metrics.views import HouseViews
from llmlb.records import RequestRecord

SAMPLES_AT_ONCE = 200
"""So many are written down in one step, a few milliseconds; others work between two steps."""


class Metrics:
    """Owns the registry of one application; several may live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._models = ModelLabels()
        self._requests = RequestMetrics(self.registry, self._models)
        self.lag = LoopLag(self.registry)
        self._house: House | None = None

    def follow(self, house: House, bodies: BodyBudget, connections: Connections) -> None:
        """Show how *house* is from now on, and the *connections* to its endpoints."""
        self._house = house
        self.registry.register(HouseViews(house, bodies, self._models))
        self.registry.register(ConnectionViews(house, connections))

    def answered(self, record: RequestRecord) -> None:
        """Count a request of the house that is followed. Never blocks."""
        if self._house is not None:
            self._requests.answered(record, self._house.registry.catalog)

    async def render(self, accept: str) -> tuple[bytes, str]:
        """All of it in a format that *accept* names, and its media type."""
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # the library trips over versions that are none
            encode, content_type = choose_encoder("")
        written = bytearray()
        for family in self.registry.collect():
            for part in _parts(family):
                lines = encode(part).removesuffix(_END)
                written += lines if part.first else _without_head(lines)
                await trio.lowlevel.checkpoint()
        if content_type.startswith("application/openmetrics-text"):
            written += _END
        return bytes(written), content_type


def metrics_page(metrics: Callable[[], Metrics]) -> Blueprint:
    """`/metrics`; *metrics* raises the LbError that says why there are none."""
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    async def show() -> Response:
        body, content_type = await metrics().render(request.headers.get("accept", ""))
        return Response(body, content_type=content_type)

    return routes


_END = b"# EOF\n"
"""What closes a whole exposition in OpenMetrics' format."""


class _Part(Collector):
    """Some samples of one family, as the library's encoders want to be given them."""

    def __init__(self, family: Metric, *, first: bool) -> None:
        self._family, self.first = family, first

    def collect(self) -> Iterator[Metric]:
        yield self._family


def _parts(family: Metric) -> Iterator[_Part]:
    # when a series began would be a line more for each of them, which nobody asks for
    samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
    for begin in range(0, max(1, len(samples)), SAMPLES_AT_ONCE):
        part = Metric(family.name, family.documentation, family.type, family.unit)
        part.samples = samples[begin : begin + SAMPLES_AT_ONCE]
        yield _Part(part, first=begin == 0)


def _without_head(lines: bytes) -> bytes:
    """*lines* without what is said of the family, which has been said."""
    return b"\n".join(line for line in lines.split(b"\n") if not line.startswith(b"# "))
