"""The application on a real socket, asked all that its own description allows and forbids.

Whatever URLs are made up for endpoints, nothing leaves the process: endpoints are played by a
fake, and the server's own thread can open no socket and resolve no name.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urljoin

import httpx
import pytest
import requests
import schemathesis
import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from llmlb.http.application import create_app
from llmlb.http.openapi.document import build_document
from llmlb.settings import Settings
from llmlb.world import World
from tests.fakes.openai import completion, finish, says
from tests.fakes.upstream import Answer, FakeUpstream, SeenCall, json_answer, sse_answer
from tests.sampling import HURRIED

ENDPOINT_URL = "http://desk.lan:8000"
START_TIMEOUT_S = 20.0

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
    allow_header_conformance,
]

CONFIG = SchemathesisConfig.from_dict(
    {
        "seed": 1,
        "generation": {"deterministic": True, "max-examples": 15, "database": "none"},
        # All are described; but a fault of ours is never to be excused.
        "checks": {
            "not_a_server_error": {
                "expected-statuses": ["2xx", "3xx", "4xx", "501", "502", "503", "504"]
            },
            "negative_data_rejection": {"expected-statuses": ["4xx", "501"]},
        },
    }
)

EVENTS = "/api/dashboard/events"
"""A stream without an end: nobody could wait for the whole answer."""

schema = schemathesis.openapi.from_dict(build_document(), config=CONFIG).exclude(path=EVENTS)


# -- the server


class NoNetwork(trio.abc.SocketFactory, trio.abc.HostnameResolver):
    """In place of all ways out of the process."""

    def socket(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AssertionError("the server opens a socket")

    async def getaddrinfo(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AssertionError("the server asks for an address")

    async def getnameinfo(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AssertionError("the server asks for a name")


def fake_endpoints() -> FakeUpstream:
    """One endpoint with the model "tiny" that answers all; others refuse the connection."""
    upstream = FakeUpstream()
    upstream.get(ENDPOINT_URL, "/v1/models", {"object": "list", "data": [{"id": "tiny"}]})

    async def chunks(call: SeenCall) -> Answer:
        await trio.lowlevel.checkpoint()
        if call.json.get("stream"):
            return sse_answer(says("Hello."), finish())
        return json_answer(completion())

    async def response(call: SeenCall) -> Answer:
        await trio.lowlevel.checkpoint()
        if call.json.get("stream"):
            return sse_answer({"type": "response.completed", "response": {}}, done=False)
        return json_answer({"output": [{"type": "message"}]})

    for path in ("/v1/chat/completions", "/v1/completions"):
        upstream.on(ENDPOINT_URL, "POST", path, chunks)
    upstream.on(ENDPOINT_URL, "POST", "/v1/responses", response)
    for path, results in (
        ("/v1/embeddings", "data"),
        ("/v1/images/generations", "data"),
        ("/v1/rerank", "results"),
    ):
        upstream.on(ENDPOINT_URL, "POST", path, json_answer({results: [{}]}))
    audio = Answer(200, {"content-type": "audio/mpeg"}, [b"\xff\xfb\x90"])
    upstream.on(ENDPOINT_URL, "POST", "/v1/audio/speech", audio)
    return upstream


@contextmanager
def serving(data_dir: Path) -> Iterator[str]:
    """The base URL of the application, served on loopback by a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = None
    stop: list[Callable[[], None]] = []
    serving_now = threading.Event()

    async def main() -> None:
        trio.socket.set_custom_socket_factory(NoNetwork())
        trio.socket.set_custom_hostname_resolver(NoNetwork())
        stopping = trio.Event()
        token = trio.lowlevel.current_trio_token()
        stop.append(partial(token.run_sync_soon, stopping.set))
        app = create_app(
            Settings(data_dir=data_dir, log_level="error", queue_timeout_s=1.0),
            client=fake_endpoints(),
            world=World(),
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve, app, config, shutdown_trigger=stopping.wait))
            serving_now.set()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    try:
        assert serving_now.wait(START_TIMEOUT_S)
        yield base_url
    finally:
        stop[0]()
        thread.join(START_TIMEOUT_S)
        structlog.reset_defaults()
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("described")) as base_url:
        yield base_url


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False  # no proxy stands between
        yield session


@pytest.fixture
def endpoint_id(server: str) -> str:
    """The endpoint that answers, enabled, and registered anew if a test has removed it."""
    with httpx.Client(base_url=server, trust_env=False) as client:
        listed = client.get("/api/endpoints", params={"per_page": 500}).json()["endpoints"]
        for endpoint in listed:  # a test may have edited it, or taken its name or URL
            if endpoint["name"] == "desk" or endpoint["base_url"] == ENDPOINT_URL:
                assert client.delete(f"/api/endpoints/{endpoint['id']}").status_code == 204
        created = client.post("/api/endpoints", json={"name": "desk", "base_url": ENDPOINT_URL})
        assert created.status_code == 201, created.text
        found = created.json()["id"]
        reset = client.put(f"/api/endpoints/{found}", json={"name": "desk", "max_concurrency": 8})
        assert reset.status_code == 200, reset.text
        assert client.post(f"/api/endpoints/{found}/enable").status_code == 200
        assert client.post(f"/api/endpoints/{found}/test").json()["success"]
        return str(found)


# -- the tests


def is_negated(case: schemathesis.Case[Any], location: ParameterLocation) -> bool:
    """Whether what stands there breaks the description on purpose."""
    assert case.meta is not None
    component = case.meta.components.get(location)
    return component is not None and component.mode.is_negative


@pytest.mark.adversary
@schema.parametrize()
@hypothesis_settings(
    max_examples=4 if HURRIED else 10, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_route_answers_as_described(
    case: schemathesis.Case[Any], server: str, session: requests.Session, endpoint_id: str
) -> None:
    """Chance alone would hardly name an endpoint or a model that is there."""
    if "endpoint_id" in case.path_parameters and not is_negated(case, ParameterLocation.PATH):
        case.path_parameters["endpoint_id"] = endpoint_id
    if (
        isinstance(case.body, dict)
        and "model" in case.body
        and not is_negated(case, ParameterLocation.BODY)
    ):
        case.body["model"] = "tiny"
    if not is_negated(case, ParameterLocation.QUERY):
        case.query.pop("follow", None)  # a stream without an end, too
    case.call_and_validate(base_url=server, session=session, checks=CHECKS)


def test_the_stream_that_has_no_end_begins_as_described(server: str) -> None:
    described = build_document()["paths"][EVENTS]["get"]["responses"]
    with httpx.stream("GET", urljoin(server, EVENTS), trust_env=False) as answer:
        said = described[str(answer.status_code)]
        assert answer.headers["content-type"] in said["content"]
        assert said["headers"].keys() <= set(answer.headers)
    refused = httpx.get(urljoin(server, EVENTS), headers={"via": "x"}, trust_env=False)
    assert str(refused.status_code) in described


def test_what_is_served_is_what_is_tested(server: str) -> None:
    served = httpx.get(urljoin(server, "/openapi.json"), trust_env=False)
    assert served.json() == build_document()
