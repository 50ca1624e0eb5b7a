"""The network between the balancer and its endpoints."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from tests.fakes.network import MemoryNetwork, Serve, ServerSide
from tests.simulation.endpoint import SimEndpoint


class SimNetwork(MemoryNetwork):
    """Leads to the endpoint whose name the host has."""

    def __init__(self, nursery: trio.Nursery, endpoints: Mapping[str, SimEndpoint]) -> None:
        super().__init__(nursery, _nowhere)
        self._endpoints = endpoints

    async def _reach(self, host: str) -> tuple[Serve, BaseException | None]:
        endpoint = self._endpoints[host.partition(".")[0]]
        refusal = await endpoint.reach()
        return endpoint.serve, refusal

    def forget(self) -> None:
        """Drop what is remembered of connections: in a day there are many."""
        self.connections.clear()
        self.asked.clear()


async def _nowhere(side: ServerSide) -> None:
    raise AssertionError(f"{side} leads to no endpoint")
