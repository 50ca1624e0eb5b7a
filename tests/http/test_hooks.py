"""What happens round every route: who is served, an id, and errors in one shape."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from quart import Quart, request
from quart_trio import QuartTrio
from werkzeug.exceptions import ImATeapot, UnsupportedMediaType

from llmlb.actors.mailbox import ActorGone
from llmlb.errors import Conflict
from llmlb.http.access.needs import PUBLIC
from llmlb.http.hooks import install_hooks
from tests.fakes.asgi import Request
from tests.fakes.gates import gate_without_users
from tests.fakes.served import Served

STRANGERS: dict[str, dict[str, Any]] = {
    "another machine": {"client": ("192.168.1.7", 5)},
    "another machine over IPv6": {"client": ("fe80::1%eth0", 5)},
    "another address of this machine": {"server": ("192.168.1.2", 32768)},
    "any address": {"server": ("0.0.0.0", 32768)},
    "no peer": {"client": None},
    "no local address": {"server": None},
    "neither": {"client": None, "server": None},
    "a Unix socket": {"client": None, "server": ("/run/llmlb.sock", None)},
    "a name": {"client": ("localhost", 5)},
    "nonsense": {"client": ("127.0.0.1.evil.example", 5)},
    "an IPv4 address in an IPv6 one": {"client": ("::ffff:192.168.1.7", 5)},
    "forwarded": {"headers": {"forwarded": "for=127.0.0.1"}},
    "x-forwarded-for": {"headers": {"x-forwarded-for": "127.0.0.1"}},
    "x-forwarded-for, empty": {"headers": {"x-forwarded-for": ""}},
    "x-forwarded-host": {"headers": {"x-forwarded-host": "localhost"}},
    "x-forwarded-proto": {"headers": {"x-forwarded-proto": "https"}},
    "x-real-ip": {"headers": {"X-Real-IP": "127.0.0.1"}},
    "via": {"headers": {"via": "1.1 proxy"}},
}

NEIGHBOURS: dict[str, dict[str, Any]] = {
    "IPv4": {},
    "another loopback address": {"client": ("127.0.0.2", 5), "server": ("127.8.8.8", 32768)},
    "IPv6": {"client": ("::1", 5), "server": ("::1", 32768)},
    "IPv6 with a zone": {"client": ("::1%lo", 5), "server": ("::1", 32768)},
    "IPv4 in IPv6": {"client": ("::ffff:127.0.0.1", 5), "server": ("::ffff:127.0.0.1", 32768)},
    "a host that lies": {"headers": {"host": "evil.example"}},
}

ROUTES = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/embeddings"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/tiny"),
    ("GET", "/api/endpoints"),
    ("POST", "/api/endpoints"),
    ("GET", "/v0/endpoints"),
    ("GET", "/nowhere"),
]


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_strangers_are_not_served_before_there_are_users(
    served: Served, stranger: str
) -> None:
    for method, path in ROUTES:
        reply = await served(method, path, b"{}", **STRANGERS[stranger])
        assert (reply.status, reply.error["code"]) == (403, "setup_required"), path
        assert reply.error["type"] == "permission_error"


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_everybody_may_ask_whether_it_lives(served: Served, stranger: str) -> None:
    for path in ("/health", "/ready"):
        reply = await served("GET", path, **STRANGERS[stranger])
        assert reply.status == 200
        assert reply.headers["x-request-id"]


@pytest.mark.parametrize("neighbour", NEIGHBOURS)
async def test_this_machine_is_served(served: Served, neighbour: str) -> None:
    assert (await served("GET", "/v1/models", **NEIGHBOURS[neighbour])).status == 200


async def test_strangers_learn_nothing_of_the_routes(served: Served) -> None:
    stranger = {"client": ("192.168.1.7", 5)}
    answers = {
        (await served(method, path, b"{}", **stranger)).body
        for method, path in [*ROUTES, ("DELETE", "/v1/models"), ("OPTIONS", "/v1/models")]
    }
    assert len(answers) == 1


# -- errors of views


@pytest.fixture
def app() -> Quart:
    app = QuartTrio("test")
    install_hooks(app, gate_without_users, "this-instance", needs=lambda *_: PUBLIC)

    @app.route("/<name>", methods=["GET", "POST"])
    async def view(name: str) -> Any:
        match name:
            case "conflict":
                raise Conflict("Taken.", param="name")
            case "gone":
                raise ActorGone
            case "bug":
                raise RuntimeError("the secret is 1234")
            case "bugs":
                raise ExceptionGroup("two", [RuntimeError("the secret is 1234"), ValueError()])
            case "teapot":
                raise ImATeapot
            case "media":
                raise UnsupportedMediaType
            case "bare":
                raise ImATeapot(description="")
            case "json":
                return await request.get_json(force=True)
            case "nothing":
                return None
            case "labelled":
                return {}, 200, {"x-request-id": "mine"}
            case _:
                return {"name": name}

    return app


async def refused_socket(app: Any, path: str, **scope: Any) -> dict[str, Any]:
    """The answer to a request that would open a WebSocket: its status, headers and JSON."""
    asked = Request(app, "GET", path, None, **scope)
    asked.scope |= {
        "type": "websocket",
        "scheme": "ws",
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
    }
    said: list[dict[str, Any]] = []
    to_come = [{"type": "websocket.connect"}]

    async def receive() -> dict[str, Any]:
        return to_come.pop() if to_come else await trio.sleep_forever()

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    await app(asked.scope, receive, send)
    head, *bodies = said
    assert head["type"] == "websocket.http.response.start"
    whole = json.loads(b"".join(message.get("body", b"") for message in bodies))
    return {"status": head["status"], "headers": dict(head["headers"]), "json": whole}


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/models", 400, "invalid_value"),
        ("/v1/chat/completions", 405, "method_not_allowed"),
        ("/ws/nowhere", 404, "not_found"),
    ],
)
async def test_a_route_that_is_no_web_socket_says_so(
    served: Served, path: str, status: int, code: str
) -> None:
    answer = await refused_socket(served.app, path)
    assert (answer["status"], answer["json"]["error"]["code"]) == (status, code)
    assert answer["headers"][b"x-request-id"]


async def test_strangers_get_no_web_socket_either(served: Served) -> None:
    answer = await refused_socket(served.app, "/ws/nowhere", headers={"via": "1.1 proxy"})
    assert (answer["status"], answer["json"]["error"]["code"]) == (403, "setup_required")


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("conflict", 409, "conflict"),
        ("gone", 503, "shutting_down"),
        ("bug", 500, "internal_error"),
        ("bugs", 500, "internal_error"),
        ("teapot", 400, "invalid_value"),
        ("bare", 400, "invalid_value"),
        ("media", 415, "unsupported_media_type"),
        ("nothing", 500, "internal_error"),
    ],
)
async def test_any_exception_of_a_view_is_an_openai_error(
    app: Quart, name: str, status: int, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reply = await Request(app, "POST", f"/{name}", b"x", headers={"x-request-id": "req-7"}).run()

    assert (reply.status, reply.error["code"]) == (status, code)
    assert reply.headers["x-request-id"] == "req-7"
    assert b"1234" not in reply.body
    if status == 500:
        assert "req-7" in reply.error["message"]
        assert "req-7" in capsys.readouterr().out


async def test_headers_above_the_limit_are_refused(app: Quart) -> None:
    large = {"x-large": "x" * 33_000, "x-request-id": "req-7"}
    reply = await Request(app, "GET", "/x", headers=large).run()

    assert (reply.status, reply.error["type"]) == (431, "invalid_request_error")
    assert reply.headers["x-request-id"] == "req-7"


async def test_broken_json_that_the_framework_reads_is_400(app: Quart) -> None:
    reply = await Request(app, "POST", "/json", b"{").run()

    assert (reply.status, reply.error["type"]) == (400, "invalid_request_error")


async def test_the_field_of_an_error_is_told(app: Quart) -> None:
    reply = await Request(app, "GET", "/conflict").run()
    assert reply.error == {
        "message": "Taken.",
        "type": "invalid_request_error",
        "param": "name",
        "code": "conflict",
    }


async def test_an_answer_has_one_id(app: Quart) -> None:
    reply = await Request(app, "GET", "/labelled", headers={"x-request-id": "req-7"}).run()
    assert reply.headers["x-request-id"] == "req-7"


async def test_a_header_that_comes_twice_is_joined(app: Quart) -> None:
    chain = [("X-Llmlb-Instance", "other"), ("x-llmlb-instance", "this-instance")]
    reply = await Request(app, "GET", "/x", headers=chain).run()
    assert (reply.status, reply.error["code"]) == (508, "loop_detected")


async def test_options_and_head_are_answered(app: Quart) -> None:
    for method in ("OPTIONS", "HEAD"):
        reply = await Request(app, method, "/x").run()
        assert reply.status == 200
        assert reply.headers["x-request-id"]
