"""Unique secrets are planted, everything is exercised, and then nothing that came out has one."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
from pydantic import SecretStr
from trio.testing import MockClock

from llmlb.declared.file import read_declared
from llmlb.endpoint_form import EndpointEdit
from llmlb.errors import StartupError
from llmlb.http.application import LlmlbApp, create_app
from llmlb.http.upstream.pooled_client import PooledUpstreamClient
from llmlb.settings import Settings
from llmlb.world import World
from tests.fakes.asgi import Lifespan, Request
from tests.fakes.house import NOW, run_inline
from tests.fakes.network import MemoryNetwork, ServerSide
from tests.fakes.openai import chat, completion

MARK = "cAnArY"
"""In every secret, so that parts of one are found as well."""

KEY, NEW_KEY = f"sk-{MARK}-key-4f1b2c", f"sk-{MARK}-key-9e8d7c"
DECLARED_KEY, REFUSED_KEY = f"sk-{MARK}-declared", f"sk-{MARK}-refused"
HEADER = f"{MARK}-header-0a1b2c"
SECRET_KEY = f"{MARK}-secret-key-of-the-process-0123,{MARK}-secret-key-of-before-4567"

FORMS = [
    MARK.encode(),
    # the three ways in which it may stand in base64
    *(base64.b64encode(b"x" * pad + MARK.encode())[4 if pad else 0 : -4] for pad in range(3)),
]

GOOD = {"object": "list", "data": [{"id": "tiny", "object": "model"}]}
DELTA = b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": null}]}\n\n'


@dataclass
class Quoting:
    """An endpoint that, as it is told, quotes what it was sent wherever it can."""

    models: str = "good"
    chat: str = "good"
    seen: bytes = b""

    async def __call__(self, side: ServerSide) -> None:
        while request := await side.request():
            self.seen += request
            head = request.partition(b"\r\n\r\n")[0].decode("latin-1")
            streamed = b'"stream": true' in request
            if head.startswith("GET /v1/models"):
                await self._say(side, self.models, head, GOOD)
            elif "/chat/completions" in head.partition("\r\n")[0]:
                await self._say(side, self.chat, head, completion(), streamed=streamed)
            else:
                await side.reply(b"{}", b"404 Not Found")
            if side.hung_up:
                return

    async def _say(
        self, side: ServerSide, how: str, head: str, good: object, *, streamed: bool = False
    ) -> None:
        secrets = " ".join(line for line in head.splitlines() if MARK in line)
        if how == "garbage":
            await side.send(head.encode("latin-1") + b"\r\n\r\n")
        elif how == "half":
            await side.send(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n", secrets.encode())
        elif how == "late error":
            await side.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", DELTA)
            await trio.sleep(0.1)  # so that it has been passed on
            await side.send(_answer("stream error", secrets, good)[0])
        elif how != "hang up":
            quoted = f"x-quoted: {secrets}".encode("latin-1")
            if how == "good":
                how = "good stream" if streamed else "good"
            body, status, *headers = _answer(how, secrets, good)
            await side.reply(body, status.encode(), quoted, *headers)
            return
        await side.hang_up()


def _answer(how: str, secrets: str, good: object) -> tuple[Any, ...]:
    """Body, status, more headers."""
    said = {"message": f"no: {secrets}", "type": secrets, "code": secrets, "param": secrets}
    error = json.dumps({"error": said}).encode()
    long = {"error": {"message": "x" * (1_990 - len("no: ")) + secrets}}
    elsewhere = f"location: http://elsewhere/?{secrets.replace(' ', '&')}".encode()
    events = b"content-type: text/event-stream"
    answers = {
        "good": (json.dumps(good).encode(), "200 OK"),
        "good stream": (DELTA + DELTA + b"data: [DONE]\n\n", "200 OK", events),
        "text": (secrets.encode(), "500 Oops"),
        "long": (json.dumps(long).encode(), "400 Bad"),
        "redirect": (b"{}", "307 There", elsewhere),
        "stream error": (b"data: " + error + b"\n\n", "200 OK", events),
        "unasked": (b"x", "200 OK", b"content-encoding: gzip"),
        "error in 200": (error, "200 OK"),
    }
    return answers.get(how, (error, how, b"retry-after: 1"))


STATUSES = ["400 Bad", "401 No", "403 No", "404 No", "422 Bad", "429 Slow", "500 Oops", "503 Busy"]
FAILURES = ["hang up", "garbage", "half", "text", "long", "redirect", *STATUSES]
OF_ANSWERS = [*FAILURES, "stream error", "late error", "unasked", "error in 200"]


@dataclass
class Watched:
    """An application on a file, before one endpoint; keeps all that it answers."""

    app: LlmlbApp
    endpoint: Quoting
    network: MemoryNetwork
    nursery: trio.Nursery
    directory: Path
    answers: list[Request] = field(default_factory=list)

    async def __call__(self, method: str, path: str, body: object = None) -> Request:
        sent = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        request = Request(
            self.app, method, path, sent, headers={"content-type": "application/json"}
        )
        self.answers.append(request)
        return await request.run()

    def follow(self) -> None:
        events = Request(self.app, "GET", "/api/dashboard/events")
        self.answers.append(events)
        self.nursery.start_soon(events.run)

    def shown(self) -> Iterator[bytes]:
        """All that clients have been sent, heads and bodies."""
        for request in self.answers:
            for message in request.answer:
                yield repr(message).encode()
                yield message.get("body", b"")


@pytest.fixture
async def watched(
    nursery: trio.Nursery,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Watched]:
    directory = tmp_path / "data"
    directory.mkdir()
    declared = '[[endpoints]]\nname = "told"\nbase_url = "http://told"\napi_key_env = "RACK_KEY"\n'
    (directory / "llmlb.toml").write_text(declared)
    monkeypatch.setenv("RACK_KEY", DECLARED_KEY)
    endpoint = Quoting()
    network = MemoryNetwork(nursery, endpoint)
    settings = Settings(
        data_dir=directory, secret_key=SecretStr(SECRET_KEY), log_level="debug", queue_timeout_s=1
    )
    app = create_app(
        settings,
        client=PooledUpstreamClient(instance_id="i", connect_timeout_s=5, network=network),
        world=World(now=lambda: NOW, rng=random.Random(1)),
        run_in_thread=run_inline,
    )
    yield Watched(app, endpoint, network, nursery, directory)
    structlog.reset_defaults()


def bytes_below(directory: Path) -> Iterator[bytes]:
    for path in directory.rglob("*"):
        yield str(path).encode()
        if path.is_file():
            yield path.read_bytes()


def betrayed(pieces: Iterator[bytes]) -> list[bytes]:
    return [piece for piece in pieces if any(form in piece for form in FORMS)]


async def register(watched: Watched) -> str:
    given = {"base_url": "http://rack", "extra_headers": {"X-Pass": HEADER, "X-Empty": ""}}
    made = await watched("POST", "/api/endpoints", {"name": "rack", "api_key": KEY, **given})
    assert made.status == 201
    place = f"/api/endpoints/{made.json['id']}"
    refused: list[dict[str, Any]] = [
        {"name": "rack", "base_url": "http://other", "api_key": REFUSED_KEY},
        {"name": "other", "base_url": "http://rack", "api_key": REFUSED_KEY},
        {"name": "other", "base_url": f"http://me:{REFUSED_KEY}@other"},
        {"name": "other", "base_url": f"me:{REFUSED_KEY}@other"},
        {"name": "other", "base_url": "http://other", "api_key": f"{REFUSED_KEY} é"},
        {"name": "other", "base_url": "http://other", "api_key": {"is": REFUSED_KEY}},
        {"name": "other", "base_url": "http://other", "api_key": REFUSED_KEY * 300},
        {"name": "other", "base_url": "http://other", "extra_headers": {"X": f"{HEADER}\n"}},
        {"name": "other", "base_url": "http://other", "extra_headers": [HEADER]},
        {
            "name": "other",
            "base_url": "http://other",
            "api_key": REFUSED_KEY,
            "extra_headers": {"Authorization": HEADER},
        },
    ]
    for form in refused:
        assert (await watched("POST", "/api/endpoints", form)).status in (400, 409)
        assert (await watched("PUT", place, {"x": REFUSED_KEY})).status == 400
    for raw in (b'{"api_key": "%s' % KEY.encode(), b'["%s"]' % KEY.encode(), KEY.encode()):
        assert (await watched("POST", "/api/endpoints", raw)).status == 400
    assert (await watched("PUT", place, {"api_key": NEW_KEY, "notes": "n"})).status == 200
    return place


async def look(watched: Watched, place: str) -> None:
    for path in ("/api/endpoints", place, f"{place}/models", "/v1/models", "/ready", "/health"):
        assert (await watched("GET", path)).status == 200
    assert (await watched("GET", "/openapi.json")).status == 200


async def probe(watched: Watched, place: str) -> None:
    for how in [*FAILURES, "good"]:
        watched.endpoint.models = how
        await watched("POST", f"{place}/test")
        await watched("POST", f"{place}/sync")
        await look(watched, place)
    for refusal in (ConnectionRefusedError(), OSError(113, f"no way: {KEY}")):
        watched.network.refuse = refusal
        await watched("POST", f"{place}/test")
        await watched("POST", f"{place}/sync")
        await look(watched, place)
    watched.network.refuse = None
    assert (await watched("POST", f"{place}/test")).json["success"] is True


async def infer(watched: Watched, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for how in [*OF_ANSWERS, "good"]:
        watched.endpoint.chat = how
        for stream in (False, True):
            await trio.sleep(2)  # until nothing cools
            await watched("POST", f"{place}/test")
            for path in ("/v1/chat/completions", f"{place}/chat/completions"):
                answer = await watched("POST", path, chat(stream=stream))
                assert (answer.status == 200) == (how == "good" or (how == "late error" and stream))
            await watched("POST", "/v1/messages", {"model": "tiny", "max_tokens": 1, "messages": [
                {"role": "user", "content": "Hi"}], "stream": stream})  # fmt: skip

    async def breaks(*_: object, **__: object) -> None:
        secrets = (KEY, NEW_KEY, HEADER)
        raise RuntimeError(f"a fault of ours, with {len(secrets)} secrets at hand")

    watched.endpoint.chat = "500 Oops"
    with monkeypatch.context() as patched:
        patched.setattr("llmlb.http.relay.refusal_of", breaks)
        assert (await watched("POST", "/v1/chat/completions", chat())).status == 500


async def test_no_secret_leaves_the_house(
    watched: Watched,
    autojump_clock: MockClock,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lifespan = Lifespan(watched.app)
    await lifespan.start(watched.nursery)
    watched.follow()
    place = await register(watched)
    await probe(watched, place)
    await infer(watched, place, monkeypatch)
    for word in ("drain", "disable", "enable"):
        assert (await watched("POST", f"{place}/{word}")).status == 200

    settings = watched.app.house.settings
    catalog = watched.app.house.registry.catalog
    assert {e.api_key for e in catalog.endpoints.values()} == {NEW_KEY, DECLARED_KEY}
    for secret in (KEY, NEW_KEY, DECLARED_KEY, HEADER):
        assert secret.encode() in watched.endpoint.seen, "what is not sent cannot leak"
    objects = [
        watched.app,
        vars(watched.app),
        watched.app.house,
        vars(watched.app.house),
        vars(watched.app.house.registry),
        vars(watched.app.house.store),
        vars(watched.app.house.store.endpoints),
        catalog,
        settings,
        settings.model_dump(),
        settings.model_dump_json(),
        read_declared(settings),
        EndpointEdit(api_key=KEY, extra_headers={"X-Pass": HEADER}),
    ]
    assert betrayed(repr(one).encode() for one in objects) == []
    assert betrayed(bytes_below(watched.directory)) == [], "while it runs"
    assert (await watched("DELETE", place)).status in (200, 204)
    await lifespan.stop()
    assert lifespan.error is None
    assert betrayed(bytes_below(watched.directory)) == [], "when it has stopped"
    assert betrayed(watched.shown()) == []
    said = capfd.readouterr()
    assert "a fault of ours" in said.err
    assert betrayed(line.encode() for line in f"{said.out}\n{said.err}".splitlines()) == []


@pytest.mark.parametrize("key", [f"{MARK}-another-key-0123456789-0123456789", f"{MARK}-short"])
async def test_a_start_with_a_wrong_key_shows_none(
    watched: Watched,
    autojump_clock: MockClock,
    capfd: pytest.CaptureFixture[str],
    key: str,
) -> None:
    lifespan = Lifespan(watched.app)
    await lifespan.start(watched.nursery)
    await lifespan.stop()
    app = create_app(
        Settings(data_dir=watched.directory, secret_key=SecretStr(key)), run_in_thread=run_inline
    )
    failing = Lifespan(app)
    await failing.start(watched.nursery)
    await failing.until_ended()
    assert isinstance(app.startup_error, StartupError)
    said = capfd.readouterr()
    assert "llmlb cannot start" in said.err
    told = f"{said.out}{said.err}{app.startup_error}{failing.said}{failing.error!r}"
    assert betrayed(iter([told.encode()])) == []
