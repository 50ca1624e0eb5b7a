"""A client that leaves, in each phase of each kind of request, from its socket to the endpoint's.

Everything between the two is real, and time is virtual: 50 ms are what is promised, and none at
all are what it takes.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog
import trio
import trio.testing

from llmlb.http.application import create_app
from llmlb.http.upstream.pooled_client import PooledUpstreamClient
from llmlb.settings import Settings
from llmlb.types import Api
from llmlb.world import World
from tests.fakes.forms import CONTENT_TYPE, Fields, form_bytes
from tests.fakes.house import NOW, PATHS, run_inline
from tests.fakes.network import MemoryNetwork, ServerSide
from tests.fakes.openai import chat
from tests.fakes.served import Served
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wire import Client

pytestmark = pytest.mark.adversary

WITHIN_S = 0.05
LEAVES_AFTER_S = 3.0
FILLER = "x" * 300_000
SSE = b"content-type: text/event-stream\r\n"
JSON = b"content-type: application/json\r\n"


def event(kind: str | None, **fields: object) -> bytes:
    head = b"" if kind is None else b"event: %b\n" % kind.encode()
    told = fields if kind is None else {"type": kind, **fields}
    return head + b"data: %b\n\n" % json.dumps(told).encode()


WORD = event(None, choices=[{"index": 0, "delta": {"content": "A"}, "finish_reason": None}])
RESPONSE = event("response.created", response={}) + event("response.output_text.delta", delta="A")
MESSAGE = event("message_start", message={"usage": {"input_tokens": 3}}) + event(
    "content_block_start", index=0, content_block={"type": "text"}
)


@dataclass(frozen=True)
class Route:
    """A request, and how an answer to it begins."""

    api: Api
    body: bytes
    head: bytes
    begins: bytes
    content_type: str = "application/json"
    native_messages: bool = False

    @property
    def request(self) -> bytes:
        return (
            f"POST {PATHS[self.api]} HTTP/1.1\r\nhost: x\r\ncontent-type: {self.content_type}\r\n"
            f"content-length: {len(self.body)}\r\n\r\n"
        ).encode() + self.body


def asks(**fields: object) -> bytes:
    return json.dumps({"model": "tiny", "input": FILLER, "max_tokens": 9, **fields}).encode()


SOUND: Fields = {"file": ("a.wav", "audio/wav", FILLER.encode()), "model": "tiny"}
SAID = [{"role": "user", "content": FILLER}]
ROUTES = {
    "chat, streamed": Route(Api.CHAT_COMPLETIONS, chat(stream=True, user=FILLER), SSE, WORD),
    "chat": Route(Api.CHAT_COMPLETIONS, chat(user=FILLER), JSON, b'{"choices": ['),
    "responses, streamed": Route(Api.RESPONSES, asks(stream=True), SSE, RESPONSE),
    "responses": Route(Api.RESPONSES, asks(), JSON, b'{"object": '),
    "messages, native": Route(
        Api.MESSAGES, asks(messages=SAID, stream=True), SSE, MESSAGE, native_messages=True
    ),
    "messages, translated": Route(Api.MESSAGES, asks(messages=SAID, stream=True), SSE, WORD),
    "speech": Route(Api.SPEECH, asks(voice="v"), b"content-type: audio/mpeg\r\n", b"\xff\xfb\x90"),
    "transcription": Route(
        Api.TRANSCRIPTION,
        form_bytes(SOUND),
        JSON,
        b'{"text": ',
        CONTENT_TYPE,
    ),
}
PHASES = (
    "sending its body",
    "in the line",
    "connecting",
    "being sent on",
    "prefilling",
    "answered, and nothing said",
    "being answered",
)


class Endpoint:
    """Lists one model, and goes as far with a request as it is told."""

    def __init__(self, route: Route, nursery: trio.Nursery) -> None:
        self.route, self.phase = route, ""
        self.network = MemoryNetwork(nursery, self.serve)
        self.side: ServerSide | None = None
        """Of the request of a client."""

    async def serve(self, side: ServerSide) -> None:
        if self.phase == "being sent on":
            self.side = side
            for _ in range(100):  # much longer than the client stays
                if not await side.stream.receive_some(1000):
                    break
                await trio.sleep(1)
            side.was_closed()
            return
        request = await side.request()
        if request.startswith(b"GET /v1/models "):
            models = json.dumps({"data": [{"id": "tiny", "object": "model"}]}).encode()
            await side.reply(models, b"200 OK", b"connection: close")
        elif not self.phase:  # it is only asked what it is
            knows = self.route.native_messages and request.startswith(b"POST /v1/messages ")
            status = b"400 Bad Request" if knows else b"404 Not Found"
            await side.reply(b"{}", status, b"connection: close")
        else:
            self.side = side
            await self.answer(side)
            await side.request()  # until it is closed

    async def answer(self, side: ServerSide) -> None:
        if self.phase == "prefilling":
            return
        await side.send(b"HTTP/1.1 200 OK\r\n", self.route.head, b"\r\n")
        if self.phase == "being answered":
            await side.send(self.route.begins)


@pytest.fixture
def route(request: pytest.FixtureRequest) -> Route:
    return ROUTES[request.param]


@pytest.fixture
async def endpoint(route: Route, nursery: trio.Nursery) -> Endpoint:
    return Endpoint(route, nursery)


@pytest.fixture
async def upstream(endpoint: Endpoint) -> PooledUpstreamClient:
    return PooledUpstreamClient(instance_id="lb", connect_timeout_s=30, network=endpoint.network)


@pytest.fixture
async def behind(
    endpoint: Endpoint, upstream: PooledUpstreamClient, nursery: trio.Nursery, tmp_path: Path
) -> AsyncIterator[Served]:
    """An application before *endpoint*, with nothing of it a fake but the network and the time."""
    app = create_app(
        Settings(data_dir=tmp_path, database_url="sqlite::memory:"),
        client=upstream,
        world=World(now=lambda: NOW, rng=random.Random(1)),
        run_in_thread=run_inline,
    )
    served = Served(app, FakeUpstream(), nursery)
    await served.lifespan.start(nursery)
    await served.scene.register("a", max_concurrency=1, health_check_interval_s=3000)
    await trio.testing.wait_all_tasks_blocked()
    yield served
    await served.lifespan.stop()
    structlog.reset_defaults()


def nothing_is_held(served: Served, upstream: PooledUpstreamClient) -> None:
    assert not served.scene.leases
    assert not served.scene.waiting
    assert served.app.body_budget.held_bytes == 0
    assert served.app.reception.spool.held_bytes == 0
    assert repr(upstream).endswith(" 0 calls>")


@pytest.mark.parametrize("how", ["close", "half"])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("route", ROUTES, indirect=True)
async def test_a_client_that_leaves_takes_all_with_it_that_was_its_own(  # noqa: PLR0917
    behind: Served,
    endpoint: Endpoint,
    upstream: PooledUpstreamClient,
    nursery: trio.Nursery,
    route: Route,
    phase: str,
    how: str,
) -> None:
    endpoint.phase = phase
    endpoint.network.in_step = phase == "being sent on"
    endpoint.network.connect_delay_s = 20.0 if phase == "connecting" else 0.0
    connected = len(endpoint.network.asked)
    before = Client(behind.app, nursery)
    if phase == "in the line":
        await before.send(route.request)
    client = Client(behind.app, nursery)
    whole = phase != "sending its body"
    await client.send(route.request if whole else route.request[:-1000])
    await trio.sleep(LEAVES_AFTER_S)
    assert not client.over.is_set()
    assert bool(behind.scene.leases) == whole
    assert len(endpoint.network.asked) - connected == int(whole)
    assert bool(behind.scene.waiting) == (phase == "in the line")
    assert b"200 OK" not in client.received
    left_at_s = trio.current_time()

    await (client.leave() if how == "close" else client.stream.send_eof())
    await trio.testing.wait_all_tasks_blocked()
    if phase == "in the line":
        assert not behind.scene.waiting
        assert len(behind.scene.leases) == 1
        await before.leave()

    assert trio.current_time() - left_at_s <= WITHIN_S
    assert client.over.is_set()
    nothing_is_held(behind, upstream)
    assert (endpoint.side is None) == (phase in ("sending its body", "connecting"))
    if endpoint.side is not None:
        assert endpoint.side.closed_at is not None
        assert endpoint.side.closed_at - left_at_s <= WITHIN_S
    totals = behind.scene.totals("a")
    assert totals.failed_requests == totals.successful_requests == 0
    assert totals.cancelled_requests == int(whole)
