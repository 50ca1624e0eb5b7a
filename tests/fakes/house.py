"""A real house with the core on top, on a store in memory, before endpoints that are scripted."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import trio
import trio.testing

from llmlb.accounting import Totals
from llmlb.house import House, open_house
from llmlb.http.bodies import BodyBudget
from llmlb.http.downstream import Asked, PeerGone, Whence
from llmlb.http.engines.surveyor import HttpSurveyor
from llmlb.http.exchange import Exchange
from llmlb.http.intake.form import Form
from llmlb.http.vision.gate import ImageGate
from llmlb.http.vision.remote import ImageFetch, RemoteImages
from llmlb.records import RequestRecord
from llmlb.routing import Measured
from llmlb.settings import Settings
from llmlb.store.opening import open_store
from llmlb.types import Api, Endpoint, EndpointId, Status
from llmlb.world import World
from tests.fakes.downstream import FakeDownstream
from tests.fakes.gates import gate_of
from tests.fakes.openai import chat
from tests.fakes.upstream import Answer, FakeUpstream, Handler, SeenCall, replies

T = TypeVar("T")

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

CHAT, COMPLETIONS, EMBEDDINGS = Api.CHAT_COMPLETIONS, Api.COMPLETIONS, Api.EMBEDDINGS

PATHS = {
    CHAT: "/v1/chat/completions",
    COMPLETIONS: "/v1/completions",
    EMBEDDINGS: "/v1/embeddings",
    Api.RESPONSES: "/v1/responses",
    Api.RERANK: "/v1/rerank",
    Api.MESSAGES: "/v1/messages",
    Api.IMAGE_GENERATIONS: "/v1/images/generations",
    Api.SPEECH: "/v1/audio/speech",
    Api.TRANSCRIPTION: "/v1/audio/transcriptions",
    Api.TRANSLATION: "/v1/audio/translations",
    Api.IMAGE_EDIT: "/v1/images/edits",
    Api.IMAGE_VARIATION: "/v1/images/variations",
    Api.COUNT_TOKENS: "/v1/messages/count_tokens",
}


async def run_inline(sync_fn: Callable[[], T], /) -> T:
    """In place of a thread: the clock of a test must not jump while a statement runs."""
    await trio.lowlevel.checkpoint()
    return sync_fn()


@dataclass
class Scene:
    """A house, its endpoints, and a way to ask it something."""

    house: House
    upstream: FakeUpstream
    exchange: Exchange

    # -- endpoints

    async def endpoint(self, name: str, *models: str, slots: int = 1, **fields: Any) -> Endpoint:
        """Register an endpoint with room for *slots* requests, and wait until it is online."""
        self.lists(name, *models or ("tiny",))
        return await self.register(name, max_concurrency=slots, **fields)

    async def register(self, name: str, **fields: Any) -> Endpoint:
        """Register an endpoint, and wait until its first probe is over."""
        fields.setdefault("id", EndpointId(f"id-{name}"))
        endpoint = Endpoint(name=name, base_url=url(name), registered_at=NOW, **fields)
        await self.house.registry.register(endpoint)
        return await self.probed(endpoint)

    async def probed(self, endpoint: Endpoint) -> Endpoint:
        """*endpoint* after one more probe."""
        await self.house.prober.probe_now(endpoint.id)
        catalog = await self.house.registry.settled()
        return catalog.endpoints[endpoint.id]

    def lists(self, name: str, *models: str) -> None:
        """Let *name* list these models."""
        listed = {"object": "list", "data": [{"id": model, "object": "model"} for model in models]}
        self.upstream.get(url(name), "/v1/models", listed)

    def on(self, name: str, answer: Handler | Answer | BaseException, api: Api = CHAT) -> None:
        """How *name* answers requests from now on."""
        if isinstance(answer, BaseException):
            answer = replies(answer)
        self.upstream.on(url(name), "POST", PATHS[api], answer)

    def status_of(self, name: str) -> Status:
        return self.known(name).status

    def known(self, name: str) -> Endpoint:
        return self.house.registry.catalog.endpoints[EndpointId(f"id-{name}")]

    # -- requests

    async def ask(
        self,
        body: bytes | None = None,
        downstream: FakeDownstream | None = None,
        *,
        api: Api = CHAT,
        headers: Mapping[str, str] | None = None,
        request_id: str = "req-1",
    ) -> FakeDownstream:
        """Serve one request, by default a plain chat, and return what its client got."""
        downstream = downstream or FakeDownstream()
        asked = asked_with(
            chat() if body is None else body,
            PATHS[api],
            headers={"content-type": "application/json", **(headers or {})},
            request_id=request_id,
        )
        with suppress(PeerGone):
            await self.exchange.serve(api, asked, downstream)
        return downstream

    async def stream(
        self, downstream: FakeDownstream | None = None, **fields: Any
    ) -> FakeDownstream:
        """Serve one streamed chat."""
        return await self.ask(chat(stream=True, **fields), downstream)

    # -- what became of it

    def requests(self, name: str | None = None) -> list[SeenCall]:
        """The inference requests that reached *name*, or any endpoint."""
        return [
            call
            for call in self.upstream.calls
            if call.path in PATHS.values()
            and call.body != b"{}"  # only a question whether the route exists
            and (name is None or call.endpoint.base_url == url(name))
        ]

    @property
    def open_requests(self) -> list[SeenCall]:
        return [call for call in self.requests() if not call.closed]

    @property
    def leases(self) -> Mapping[EndpointId, int]:
        return self.house.admission.statistics().in_flight

    @property
    def waiting(self) -> Mapping[str, int]:
        return self.house.admission.statistics().waiting

    def totals(self, name: str) -> Totals:
        return self.house.journal.totals.get(EndpointId(f"id-{name}"), Totals())

    def latency_ms(self, name: str) -> float | None:
        return self.house.latency.standings.latency_ms(EndpointId(f"id-{name}"))

    def standing(self, name: str, model: str = "tiny", api: Api = CHAT) -> Measured | None:
        return self.house.latency.standings.by_model.get((EndpointId(f"id-{name}"), model, api))

    async def settle(self) -> None:
        """Let everything that has been told arrive, without the clock moving."""
        await trio.testing.wait_all_tasks_blocked()


LOOPBACK = Whence("127.0.0.1", "127.0.0.1")


def asked_with(
    body: bytes | Form,
    path: str = PATHS[CHAT],
    *,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    request_id: str = "req-1",
    whence: Whence = LOOPBACK,
) -> Asked:
    """A request whose body is there already."""

    async def read() -> bytes | Form:
        await trio.lowlevel.checkpoint()
        return body

    return Asked(method, path, headers or {}, request_id, whence, read)


def url(name: str) -> str:
    return f"http://{name}.lan:8000"


@asynccontextmanager
async def scene_in(
    data_dir: Path,
    *,
    now: Callable[[], datetime] = lambda: NOW,
    on_answered: Callable[[RequestRecord], None] = lambda _: None,
    **settings: Any,
) -> AsyncIterator[Scene]:
    """A house that stands until the end of the block, on a database in memory unless told."""
    settings.setdefault("database_url", "sqlite::memory:")
    store = await open_store(settings["database_url"], data_dir=data_dir, run_in_thread=run_inline)
    upstream = FakeUpstream()
    world = World(now=now, rng=random.Random(1))
    try:
        house = await open_house(
            Settings(data_dir=data_dir, **settings),
            store,
            HttpSurveyor(upstream),
            world=world,
            on_answered=on_answered,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(house.run)
            gate = ImageGate(
                RemoteImages(ImageFetch(house.settings.image_fetch), upstream),
                BodyBudget(house.settings.body_memory_bytes),
                run_inline,
            )
            exchange = Exchange(house, upstream, gate, gate_of(house), "this-instance")
            yield Scene(house, upstream, exchange)
            house.close()
    finally:
        with trio.CancelScope(shield=True):  # it is in memory, and takes no time
            await store.close()
