"""What a browser is told with every answer, and which pages it lets call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import trio
from hypothesis import HealthCheck, example, given
from hypothesis import settings as trying
from hypothesis import strategies as st
from quart import Response
from werkzeug.exceptions import Forbidden, ServiceUnavailable
from werkzeug.routing import Rule

from llmlb.errors import Conflict, Overloaded
from llmlb.http.application import create_app
from llmlb.http.response_policy import OF_API, OF_PAGES
from llmlb.settings import Settings
from tests.conftest import run_in_virtual_time
from tests.fakes.asgi import Request
from tests.fakes.openai import chat, completion, finish, says
from tests.fakes.served import Served
from tests.fakes.upstream import json_answer, sse_answer
from tests.fakes.wire import Client
from tests.http import conftest as fixtures
from tests.sampling import some

settings, unstarted, served = fixtures.settings, fixtures.unstarted, fixtures.served

virtually = pytest.mark.trio(run=run_in_virtual_time)

PAGE, EVIL = "https://chat.example", "https://evil.example"
with_cors = pytest.mark.parametrize("settings", [{"cors_origins": (PAGE,)}], ids=["cors"])

RULES = sorted(create_app(Settings()).url_map.iter_rules(), key=lambda rule: rule.rule)
each_rule = pytest.mark.parametrize(
    "rule", some(RULES, "rules", every=3), ids=lambda rule: f"{rule.rule}-{rule.endpoint}"
)


def path_of(rule: Rule) -> str:
    """A path that leads to *rule*."""
    arguments = {name: UUID(int=0) if name == "task_id" else "x" for name in rule.arguments}
    _, path = rule.build(arguments) or ("", "")
    assert path
    return path


def methods_of(rule: Rule) -> list[str]:
    return sorted(rule.methods or ())


def is_dressed(reply: Request) -> bool:
    page = reply.headers.get("content-type", "").startswith("text/html")
    return dict(OF_PAGES if page else OF_API).items() <= reply.headers.items()


def cors_of(reply: Request) -> dict[str, str]:
    return {n: v for n, v in reply.headers.items() if n.startswith("access-control-")}


# -- every route, every class of status


@virtually
@each_rule
async def test_a_route_as_it_is_answers_with_the_headers(served: Served, rule: Rule) -> None:
    for method in methods_of(rule):
        with trio.move_on_after(60):  # the stream of events goes on
            request = served.begin(served.request(method, path_of(rule), b"{}"))
            await request.over.wait()
        assert is_dressed(request), method
        request.leave()


def outcomes() -> Iterator[Response | Exception]:
    for status in (200, 201, 204, 302, 304, 400, 403, 404, 409, 429, 500, 503):
        yield Response(b"", status, content_type="application/json")
    errors = (Conflict("Taken."), Overloaded("Full."), Forbidden(), ServiceUnavailable())
    yield from (*errors, RuntimeError(), ExceptionGroup("two", [ValueError(), KeyError()]))


@virtually
@each_rule
async def test_whatever_a_route_answers_has_the_headers(
    unstarted: Served, nursery: trio.Nursery, rule: Rule
) -> None:
    outcome: Response | Exception

    async def view(**_: str) -> Response:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    unstarted.app.view_functions[rule.endpoint] = view
    await unstarted.lifespan.start(nursery)
    for outcome in outcomes():
        for method in methods_of(rule):
            reply = await unstarted(method, path_of(rule), b"{}")
            assert is_dressed(reply), (outcome, method)
    await unstarted.lifespan.stop()


@virtually
@each_rule
async def test_a_refusal_before_any_route_has_the_headers(served: Served, rule: Rule) -> None:
    path = path_of(rule)
    refused = [
        await served("BREW", path),
        await served("GET", path, client=("192.168.1.7", 5)),
        await served("POST", path, headers={"x-large": "x" * 40_000}),
        await served("OPTIONS", path),
        await served("GET", f"{path}/nowhere/at/all"),
    ]
    assert all(is_dressed(reply) for reply in refused)


@virtually
async def test_a_balancer_that_is_not_up_yet_answers_with_the_headers(unstarted: Served) -> None:
    reply = await unstarted("GET", "/v1/models")
    assert reply.status == 503
    assert is_dressed(reply)


@virtually
async def test_a_page_gets_the_policy_of_pages(served: Served) -> None:
    reply = await served("GET", "/setup")
    assert dict(OF_PAGES).items() <= reply.headers.items()
    assert "'unsafe" not in reply.headers["content-security-policy"]


@virtually
async def test_plain_answers_and_streams_have_the_headers(served: Served) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", json_answer(completion()))
    plain = await served.post("/v1/chat/completions", chat())
    served.scene.on("a", sse_answer(says("Hi"), finish()))
    stream = await served.post("/v1/chat/completions", chat(stream=True))
    assert stream.headers["content-type"] == "text/event-stream"
    for reply in (plain, stream):
        assert reply.status == 200
        assert is_dressed(reply)
        assert not cors_of(reply)
        assert "vary" not in reply.headers


@virtually
@pytest.mark.parametrize("sent", [b"GARBAGE\r\n\r\n", b"GET / HTTP/1.1\nhost: x\n\n"])
async def test_what_is_no_request_is_refused_with_the_headers(
    served: Served, nursery: trio.Nursery, sent: bytes
) -> None:
    client = Client(served.app, nursery)
    await client.send(sent)
    [answer] = client.answers()
    assert answer.status == 400
    assert dict(OF_API).items() <= answer.headers.items()
    await client.leave()


# -- pages of other origins


def asks_first(origin: str = PAGE, **more: str) -> dict[str, str]:
    return {"origin": origin, "access-control-request-method": "POST", **more}


@virtually
@with_cors
async def test_a_page_that_is_named_may_call_without_a_user(
    served: Served, settings: dict[str, Any]
) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", json_answer(completion()))
    first = await served(
        "OPTIONS",
        "/v1/chat/completions",
        headers=asks_first(**{"access-control-request-headers": "authorization,content-type"}),
    )
    assert (first.status, first.body) == (204, b"")
    assert not {"content-type", "content-length"} & first.headers.keys()
    assert cors_of(first) == {
        "access-control-allow-origin": PAGE,
        "access-control-allow-methods": "GET, POST, DELETE",
        "access-control-allow-headers": "authorization, content-type",
        "access-control-max-age": "600",
    }
    assert is_dressed(first)
    from_page = {"origin": PAGE, "sec-fetch-site": "cross-site"}
    answer = await served.post("/v1/chat/completions", chat(), headers=from_page)
    error = await served.post("/v1/chat/completions", chat("nobody-has-it"), headers=from_page)
    models = await served("GET", "/v1/models", headers=from_page)
    nowhere = await served("GET", "/v1/nowhere", headers=from_page)
    replies = (answer, error, models, nowhere)
    assert [reply.status for reply in replies] == [200, 404, 200, 404]
    for reply in replies:
        assert reply.headers["access-control-allow-origin"] == PAGE
        assert "x-request-id" in reply.headers["access-control-expose-headers"]
        assert reply.headers["vary"] == "origin"
        assert "cross-origin-resource-policy" not in reply.headers


@virtually
@with_cors
async def test_on_a_connection_a_call_follows_its_preflight(
    served: Served, nursery: trio.Nursery, settings: dict[str, Any]
) -> None:
    client = Client(served.app, nursery)
    asked = f"OPTIONS /v1/models HTTP/1.1\r\nhost: x\r\norigin: {PAGE}\r\n"
    await client.send(f"{asked}access-control-request-method: GET\r\n\r\n".encode())
    await client.send(f"GET /v1/models HTTP/1.1\r\nhost: x\r\norigin: {PAGE}\r\n\r\n".encode())
    first, called = client.answers("OPTIONS", "GET")
    assert (first.status, first.body, called.status) == (204, b"", 200)
    for answer in (first, called):
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert answer.headers["vary"] == "origin"
    await client.leave()


@virtually
@with_cors
async def test_a_page_that_is_named_may_not_manage(
    served: Served, settings: dict[str, Any]
) -> None:
    for rule in RULES:
        if rule.rule.startswith("/v1/"):
            continue
        refused = await served("OPTIONS", path_of(rule), headers=asks_first())
        assert (refused.status, refused.error["code"]) == (403, "origin_not_allowed")
        called = await served("GET", path_of(rule), headers={"origin": PAGE})
        assert called.status == (200 if rule.rule in {"/health", "/ready", "/setup.css"} else 403)
        assert not cors_of(refused) | cors_of(called)
        assert is_dressed(called)


@virtually
@pytest.mark.parametrize("settings", [{}, {"cors_origins": (PAGE,)}])
@pytest.mark.parametrize("origin", [EVIL, "null", f"{PAGE}.evil.example", f"{PAGE}, {PAGE}", ""])
async def test_any_other_page_is_refused_and_told_nothing(
    served: Served, settings: dict[str, Any], origin: str
) -> None:
    first = await served("OPTIONS", "/v1/models", headers=asks_first(origin))
    assert (first.status, first.error["code"]) == (403, "origin_not_allowed")
    called = await served("GET", "/v1/models", headers={"origin": origin})
    assert (called.status, called.error["code"]) == (403, "setup_required")
    assert not cors_of(first) | cors_of(called)
    assert ("vary" in called.headers) == bool(settings)


@virtually
@pytest.mark.parametrize("settings", [{"cors_origins": ("*",)}])
async def test_a_star_does_not_let_pages_call_without_a_key(
    served: Served, settings: dict[str, Any]
) -> None:
    first = await served("OPTIONS", "/v1/models", headers=asks_first(EVIL))
    assert (first.status, first.headers["access-control-allow-origin"]) == (204, "*")
    called = await served("GET", "/v1/models", headers={"origin": EVIL})
    assert (called.status, called.error["code"]) == (403, "setup_required")
    assert called.headers["access-control-allow-origin"] == "*"


@virtually
@with_cors
async def test_a_preflight_needs_no_credential_and_tells_strangers_nothing_of_the_routes(
    served: Served, settings: dict[str, Any]
) -> None:
    stranger: dict[str, Any] = {"client": ("192.168.1.7", 5)}
    told = [
        await served("OPTIONS", path, headers=asks_first(**{"x-request-id": "r"}), **stranger)
        for path in ("/v1/models", "/v1/models/x", "/v1/nowhere")
    ]
    assert {reply.status for reply in told} == {204}
    assert len({tuple(reply.headers.items()) for reply in told}) == 1
    called = await served("GET", "/v1/models", headers={"origin": PAGE}, **stranger)
    assert called.status == 403


@virtually
@with_cors
async def test_a_page_that_is_named_is_not_let_through_by_a_proxy(
    served: Served, settings: dict[str, Any]
) -> None:
    headers = {"origin": PAGE, "via": "1.1 proxy"}
    assert (await served("GET", "/v1/models", headers=headers)).status == 403


@virtually
@pytest.mark.parametrize("settings", [{}, {"cors_origins": (PAGE,)}])
async def test_options_that_asks_for_no_page_is_a_method_like_any_other(
    served: Served, settings: dict[str, Any]
) -> None:
    for rule in RULES:
        reply = await served("OPTIONS", path_of(rule))
        assert reply.status == 405
        assert "OPTIONS" not in reply.headers["allow"]
    assert (await served("OPTIONS", "/nowhere")).status == 404


@virtually
@with_cors
async def test_the_stream_of_events_is_not_for_pages_of_other_origins(
    served: Served, settings: dict[str, Any]
) -> None:
    reply = await served("GET", "/api/dashboard/events", headers={"origin": PAGE})
    assert reply.status == 403
    request = served.begin(served.request("GET", "/api/dashboard/events"))
    with trio.move_on_after(1):
        await request.over.wait()
    assert is_dressed(request)
    assert not cors_of(request)
    request.leave()


HEADER_TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40)


@given(origin=HEADER_TEXTS, path=st.sampled_from(["/v1/models", "/v1/x", "/api/endpoints"]))
@example(origin=PAGE, path="/v1/models")
@example(origin=PAGE, path="/api/endpoints")
@example(origin=f"{PAGE}/", path="/v1/models")
@trying(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_access_is_granted_only_to_an_origin_that_is_exactly_listed(origin: str, path: str) -> None:
    async def ask() -> list[Request]:
        app = create_app(Settings(cors_origins=(PAGE,)))
        app.response_policy = app.response_policy.of(Settings(cors_origins=(PAGE,)))
        return [
            await Request(app, "GET", path, headers={"origin": origin}).run(),
            await Request(app, "OPTIONS", path, headers=asks_first(origin)).run(),
        ]

    for reply in run_in_virtual_time(ask):
        granted = reply.headers.get("access-control-allow-origin")
        assert granted == (PAGE if origin == PAGE and path.startswith("/v1/") else None)
        assert is_dressed(reply) or granted is not None
