"""A whole house between an endpoint and clients that cost nothing, in process, in real time."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import trio

from llmlb.accounts import Accounts
from llmlb.house import House
from llmlb.http.bodies import BodyBudget
from llmlb.http.downstream import Asked, Head, Whence
from llmlb.http.exchange import Exchange
from llmlb.http.metrics.page import Metrics
from llmlb.http.payload import Payload
from llmlb.http.upstream.client import Headers, PoolStatistics
from llmlb.http.vision.gate import ImageGate
from llmlb.http.vision.remote import ImageFetch, RemoteImages
from llmlb.memory import remembered_by
from llmlb.settings import Settings
from llmlb.store.opening import Store, open_store
from llmlb.types import Api, DeviceReport, Endpoint, EndpointId, Engine, Model, Status, Survey
from llmlb.world import World
from tests.fakes.accounts import bearer, key, user
from tests.fakes.gates import gate_of
from tests.fakes.openai import chat, completion, counted

T = TypeVar("T")

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)

_ANSWER = json.dumps(completion(usage=counted())).encode()


class Inline:
    """Runs what else runs in a thread at once, and knows how long that took."""

    def __init__(self) -> None:
        self.took_s = 0.0

    async def __call__(self, work: Callable[[], T], /) -> T:
        await trio.lowlevel.checkpoint()
        began_s = time.thread_time()
        try:
            return work()
        finally:
            self.took_s += time.thread_time() - began_s


class AtOnce:
    """A connection to every endpoint: one pass of the scheduler, and the answer is there."""

    status = 200
    headers = {"content-type": "application/json"}  # noqa: RUF012 - never changed

    @asynccontextmanager
    async def call(
        self,
        endpoint: Endpoint,  # noqa: ARG002
        method: str,  # noqa: ARG002
        path: str,  # noqa: ARG002
        *,
        headers: Headers = (),  # noqa: ARG002
        body: bytes | Payload | None = None,  # noqa: ARG002
    ) -> AsyncIterator[AtOnce]:
        await trio.lowlevel.checkpoint()
        yield self

    async def chunks(self) -> AsyncIterator[bytes]:
        """The whole answer, as one piece."""
        yield _ANSWER

    async def forget(self, endpoint_id: EndpointId) -> None:
        """There is nothing to forget."""

    def statistics(self) -> dict[EndpointId, PoolStatistics]:
        """There are no connections."""
        return {}

    async def aclose(self) -> None:
        """There is nothing to close."""


class Client:
    """Takes everything at once."""

    peer_gone = False
    status = 0

    async def begin(self, head: Head) -> None:
        self.status = head.status

    async def send(self, data: bytes) -> None:
        """It is taken."""

    def abort(self) -> None:
        """It is ended."""


@dataclass(frozen=True)
class _Surveyor:
    """Finds every endpoint as it is known already."""

    known: dict[EndpointId, Endpoint]

    async def check(self, endpoint: Endpoint) -> tuple[str, ...]:
        return tuple(model.id for model in endpoint.models)

    async def survey(self, endpoint: Endpoint) -> Survey:
        return Survey(Engine.VLLM, self.known[endpoint.id].models)

    async def device(self, endpoint: Endpoint) -> DeviceReport:  # noqa: ARG002
        return DeviceReport(note="It does not tell.")

    async def in_memory(self, endpoint: Endpoint) -> frozenset[str] | None:  # noqa: ARG002
        return None


@dataclass(frozen=True)
class Rig:
    """The house, its core, and how long its database has taken."""

    house: House
    exchange: Exchange
    metrics: Metrics
    inline: Inline

    async def serve(self) -> None:
        """One request and its whole answer."""
        client = Client()
        await self.exchange.serve(Api.CHAT_COMPLETIONS, asked(), client)
        if client.status != 200:
            raise RuntimeError(f"a request was answered with {client.status}")


_BODY = chat("model-0", max_tokens=64, temperature=0.2)
_HEADERS = {
    "host": "127.0.0.1:32768",
    "user-agent": "OpenAI/Python 3.0",
    "content-type": "application/json",
    "content-length": str(len(_BODY)),
    "accept": "application/json",
    **bearer("laptop"),
}
_WHENCE = Whence("127.0.0.1", "127.0.0.1")


def asked() -> Asked:
    """A plain chat of somebody who has a key."""

    async def read() -> bytes:
        return _BODY

    return Asked(
        "POST", "/v1/chat/completions", _HEADERS, "0123456789abcdef0123456789abcdef", _WHENCE, read
    )


def fleet(n_endpoints: int, n_models: int, *, offering: int) -> list[Endpoint]:
    """So many endpoints; *offering* of them have `model-0`, and all models have somebody."""
    each = -(-n_models // n_endpoints)
    endpoints = []
    for i in range(n_endpoints):
        names = {f"model-{(i * each + j) % n_models}" for j in range(each)} - {"model-0"}
        names |= {"model-0"} if i < offering else set()
        endpoints.append(
            Endpoint(
                EndpointId(f"endpoint-{i}"),
                f"endpoint {i}",
                f"http://10.0.{i // 250}.{i % 250}:8000",
                LONG_AGO,
                status=Status.ONLINE,
                engine=Engine.VLLM,
                health_check_interval_s=3600,
                models=tuple(Model(name) for name in sorted(names or {f"spare-{i}"})),
                probed=True,
                synced=True,
            )
        )
    return endpoints


@asynccontextmanager
async def rig(endpoints: Sequence[Endpoint]) -> AsyncIterator[Rig]:
    """A house with *endpoints*, all online, and everything on that is on by default."""
    inline = Inline()
    with tempfile.TemporaryDirectory() as directory:
        data_dir = Path(directory)
        store = await open_store("sqlite::memory:", data_dir=data_dir, run_in_thread=inline)
        try:
            settings = Settings(data_dir=data_dir)
            metrics = Metrics()
            house = await _house(settings, store, endpoints, metrics)
            bodies = BodyBudget(settings.body_memory_bytes)
            client = AtOnce()
            metrics.follow(house, bodies, client.statistics)
            images = ImageGate(RemoteImages(ImageFetch.PASSTHROUGH, client), bodies, inline)
            exchange = Exchange(house, client, images, gate_of(house), "this-instance")
            async with trio.open_nursery() as nursery:
                await nursery.start(house.run)
                await house.registry.settled()
                yield Rig(house, exchange, metrics, inline)
                house.close()
        finally:
            with trio.CancelScope(shield=True):  # it is in memory, and takes no time
                await store.close()


async def _house(
    settings: Settings, store: Store, endpoints: Sequence[Endpoint], metrics: Metrics
) -> House:
    for endpoint in endpoints:
        await store.endpoints.insert(endpoint)
    people = (user(), key())
    await store.accounts.change(put=people, drop=())
    # as after a run of some days: nothing has to be probed before it is given requests
    memory = replace(await remembered_by(store), endpoints=endpoints, accounts=Accounts.of(people))
    return House(
        settings,
        store,
        _Surveyor({e.id: e for e in endpoints}),
        memory,
        world=World(),
        drop_connections=lambda _: None,
        on_answered=metrics.answered,
    )
