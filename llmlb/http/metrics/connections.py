"""How it is with the connections to endpoints at the moment of a scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from llmlb.house import House
from llmlb.http.upstream.client import PoolStatistics
from llmlb.types import EndpointId

Connections = Callable[[], Mapping[EndpointId, PoolStatistics]]

Family = CounterMetricFamily | GaugeMetricFamily


class ConnectionViews(Collector):
    """Reads the pools of the upstream client; owns nothing.

    An endpoint that is reached in another way than before has a new pool, which counts from zero.
    """

    def __init__(self, house: House, connections: Connections) -> None:
        self._house, self._connections = house, connections

    def describe(self) -> Iterable[Family]:
        """Nothing: what there is depends on nothing that is known beforehand."""
        return ()

    def collect(self) -> Iterator[Family]:
        """All of one moment."""
        pools = self._connections()
        known = [
            (endpoint.name, pools[endpoint.id])
            for endpoint in self._house.registry.catalog.endpoints.values()
            if endpoint.id in pools
        ]
        now = GaugeMetricFamily(
            "llmlb_endpoint_connections",
            "Connections to it that are open.",
            labels=("endpoint", "state"),
        )
        opened = CounterMetricFamily(
            "llmlb_endpoint_connections_opened", "Connections to it.", labels=("endpoint",)
        )
        reused = CounterMetricFamily(
            "llmlb_endpoint_connections_reused",
            "Calls on a connection that had carried one before.",
            labels=("endpoint",),
        )
        stale = CounterMetricFamily(
            "llmlb_endpoint_connections_stale",
            "Calls that broke on such a connection before an answer came, and were made again.",
            labels=("endpoint",),
        )
        for name, pool in known:
            now.add_metric((name, "idle"), pool.idle)
            now.add_metric((name, "busy"), pool.busy)
            opened.add_metric((name,), pool.opened)
            reused.add_metric((name,), pool.reused)
            stale.add_metric((name,), pool.stale)
        yield from (now, opened, reused, stale)
