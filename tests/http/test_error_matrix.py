"""Every inference route × every way to fail: status, type, code, and the class of the SDK."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import anthropic
import httpx2
import openai
import pytest
import trio

from llmlb.types import Api, Capability, EndpointId
from tests.fakes.asgi import Request
from tests.fakes.house import PATHS, Scene, url
from tests.fakes.openai import completion
from tests.fakes.served import Served
from tests.fakes.upstream import Answer, SeenCall, hangs, json_answer, refused, replies

MESSAGES = {"messages": [{"role": "user", "content": "Hi"}]}

BOUNDARY = "xyz"


def form(**fields: str | tuple[str, bytes]) -> bytes:
    parts = []
    for name, value in fields.items():
        file, data = value if isinstance(value, tuple) else (None, value.encode())
        named = f'; filename="{file}"' if file else ""
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
        parts.append(head.encode() + data + b"\r\n")
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


@dataclass(frozen=True)
class Route:
    """One route, how it is asked, and what a good answer is."""

    api: Api
    fields: dict[str, Any]
    good: Any = None
    is_form: bool = False

    @property
    def path(self) -> str:
        return PATHS[self.api]

    @property
    def headers(self) -> dict[str, str]:
        kind = f"multipart/form-data; boundary={BOUNDARY}" if self.is_form else "application/json"
        return {"content-type": kind}

    @property
    def anthropic(self) -> bool:
        return self.api in (Api.MESSAGES, Api.COUNT_TOKENS)

    def body(self, **more: Any) -> bytes:
        fields = {"model": "tiny", **self.fields, **more}
        fields = {name: value for name, value in fields.items() if value is not None}
        return form(**fields) if self.is_form else json.dumps(fields).encode()


SOUND: dict[str, Any] = {"file": ("a.wav", b"RIFF")}
PICTURE: dict[str, Any] = {"image": ("a.png", b"\x89PNG"), "prompt": "a hat"}
IMAGE = {"data": [{"b64_json": "AAAA"}]}
MESSAGE = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
}

ROUTES = [
    Route(Api.CHAT_COMPLETIONS, MESSAGES, completion()),
    Route(Api.COMPLETIONS, {"prompt": "Hi"}, completion()),
    Route(Api.EMBEDDINGS, {"input": "Hi"}, {"data": [{}]}),
    Route(Api.RESPONSES, {"input": "Hi"}, {"id": "r", "output": [{}]}),
    Route(Api.RERANK, {"query": "Hi", "documents": []}, {"results": [{}]}),
    Route(Api.IMAGE_GENERATIONS, {"prompt": "a hat"}, IMAGE),
    Route(Api.SPEECH, {"input": "Hi", "voice": "x"}, None),
    Route(Api.TRANSCRIPTION, SOUND, {"text": "Hi"}, is_form=True),
    Route(Api.TRANSLATION, SOUND, {"text": "Hi"}, is_form=True),
    Route(Api.IMAGE_EDIT, PICTURE, IMAGE, is_form=True),
    Route(Api.IMAGE_VARIATION, PICTURE, IMAGE, is_form=True),
    Route(Api.MESSAGES, {**MESSAGES, "max_tokens": 5}, MESSAGE),
    Route(Api.COUNT_TOKENS, MESSAGES, {"input_tokens": 3}),
]


def test_every_inference_route_is_in_the_matrix() -> None:
    assert {route.api for route in ROUTES} == set(Api) == set(PATHS)


@dataclass(frozen=True)
class Told:
    """What a client has to be told."""

    status: int
    type: str
    code: str
    param: str | None = None
    retry_after: bool = False


Ask = Callable[[Served, Route], Awaitable[Request]]
"""Brings about one way to fail, and asks."""


async def post(served: Served, route: Route, body: bytes | None = None, **headers: str) -> Request:
    body = route.body() if body is None else body
    return await served.post(route.path, body, headers={**route.headers, **headers})


async def endpoint(scene: Scene, route: Route, name: str = "a", **fields: Any) -> None:
    """One endpoint that serves the route itself, also where not every engine does."""
    good = Answer(200, {}, [b"\xff\xfb"]) if route.good is None else json_answer(route.good)
    scene.on(name, good, route.api)
    await scene.endpoint(name, **fields)


def with_answer(answer: Answer | BaseException | Callable[[SeenCall], Awaitable[Answer]]) -> Ask:
    async def ask(served: Served, route: Route) -> Request:
        await endpoint(served.scene, route, inference_timeout_s=9)
        served.scene.on("a", answer, route.api)
        return await post(served, route)

    return ask


def with_body(change: Callable[[Route], bytes], **headers: str) -> Ask:
    async def ask(served: Served, route: Route) -> Request:
        await endpoint(served.scene, route)
        return await post(served, route, change(route), **headers)

    return ask


async def offline(served: Served, route: Route) -> Request:
    await endpoint(served.scene, route)
    served.upstream.down(url("a"))
    for _ in range(2):
        await served.scene.probed(served.scene.known("a"))
    return await post(served, route)


async def busy(served: Served, route: Route) -> Request:
    """The only slot is taken for longer than anybody waits."""
    await endpoint(served.scene, route)
    served.scene.on("a", replies(json_answer({}), after_s=100), route.api)
    first = served.request("POST", route.path, route.body(), headers=route.headers)
    served.begin(first)
    await served.scene.settle()
    return await post(served, route)


async def full(served: Served, route: Route) -> Request:
    await endpoint(served.scene, route)
    served.scene.on("a", hangs, route.api)
    for _ in range(2):  # one runs, one is in the line, which has one place
        waiting = served.request("POST", route.path, route.body(), headers=route.headers)
        served.begin(waiting)
        await served.scene.settle()
    reply = await post(served, route)
    assert trio.current_time() == 0
    return reply


async def draining(served: Served, route: Route) -> Request:
    await endpoint(served.scene, route)
    await served.app.house.drain()
    return await post(served, route)


async def incapable(served: Served, route: Route) -> Request:
    """The operator says that the model can do nothing that this route is for."""
    await endpoint(served.scene, route)
    other = Capability.EMBEDDINGS if route.api is not Api.EMBEDDINGS else Capability.AUDIO_SPEECH
    says = (("tiny", frozenset({other})),)
    await served.app.house.registry.update(
        EndpointId("id-a"), lambda e: replace(e, model_capabilities=says)
    )
    return await post(served, route)


async def looping(served: Served, route: Route) -> Request:
    await endpoint(served.scene, route)
    headers = {"x-llmlb-instance": served.app.instance_id}
    return await post(served, route, None, **headers)


async def from_elsewhere(served: Served, route: Route) -> Request:
    return await served.post(
        route.path, route.body(), headers=route.headers, client=("192.0.2.1", 5)
    )


async def by_get(served: Served, route: Route) -> Request:
    return await served("GET", route.path)


async def broken_inside(served: Served, route: Route) -> Request:
    await endpoint(served.scene, route)
    served.scene.on("a", RuntimeError("a secret of ours"), route.api)
    reply = await post(served, route)
    assert b"secret" not in reply.body
    assert reply.headers["x-request-id"].encode() in reply.body
    return reply


REFUSED = {"error": {"message": "no", "type": "invalid_request_error", "param": "x", "code": "c"}}

SITUATIONS: dict[str, tuple[Ask, Told]] = {
    "no model": (
        with_body(lambda route: route.body(model=None)),
        Told(400, "invalid_request_error", "missing_field", "model"),
    ),
    "an unknown model": (
        with_body(lambda route: route.body(model="unknown")),
        Told(404, "invalid_request_error", "model_not_found", "model"),
    ),
    "the wrong method": (by_get, Told(405, "invalid_request_error", "method_not_allowed")),
    "not from this machine": (from_elsewhere, Told(403, "permission_error", "setup_required")),
    "a loop": (looping, Told(508, "upstream_error", "loop_detected")),
    "offline": (
        offline,
        Told(503, "service_unavailable", "no_capable_endpoints", retry_after=True),
    ),
    "the line takes too long": (busy, Told(504, "timeout_error", "queue_timeout")),
    "draining": (draining, Told(503, "service_unavailable", "shutting_down", retry_after=True)),
    "a fault of ours": (broken_inside, Told(500, "server_error", "internal_error")),
    "out of reach": (
        with_answer(refused()),
        Told(502, "upstream_error", "upstream_unreachable"),
    ),
    "a 500": (
        with_answer(json_answer({"error": "boom"}, 500)),
        Told(502, "upstream_error", "upstream_error"),
    ),
    "a 503": (with_answer(Answer(503)), Told(502, "upstream_error", "upstream_error")),
    "an empty 200": (with_answer(Answer(200)), Told(502, "upstream_error", "upstream_error")),
    "an error in a 200": (
        with_answer(json_answer({"error": {"message": "boom"}})),
        Told(502, "upstream_error", "upstream_error"),
    ),
    "too slow": (with_answer(hangs), Told(504, "timeout_error", "upstream_timeout")),
    "rate limited": (
        with_answer(json_answer({"error": "slower"}, 429, retry_after=7)),
        Told(429, "rate_limit_error", "upstream_rate_limited", retry_after=True),
    ),
    "our key refused": (
        with_answer(json_answer({"error": "key"}, 401)),
        Told(502, "upstream_error", "upstream_error"),
    ),
    "refused": (
        with_answer(json_answer(REFUSED, 400)),
        Told(400, "invalid_request_error", "c", "x"),
    ),
    "a conflict": (
        with_answer(json_answer(REFUSED, 409)),
        Told(409, "invalid_request_error", "c", "x"),
    ),
    "unprocessable": (
        with_answer(json_answer(REFUSED, 422)),
        Told(422, "invalid_request_error", "c", "x"),
    ),
}

OPENAI_CLASSES: dict[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
}

ANTHROPIC_TYPES = {
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    return getattr(request, "param", {})


by_route = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.api.value)


@by_route
@pytest.mark.parametrize("name", SITUATIONS)
async def test_a_failure_is_told_in_the_words_of_the_route(
    served: Served, route: Route, name: str
) -> None:
    ask, told = SITUATIONS[name]
    check(await ask(served, route), route, told)


@by_route
@pytest.mark.parametrize("settings", [{"queue_max": 1}], indirect=True)
async def test_a_full_line_is_429(served: Served, route: Route) -> None:
    told = Told(429, "rate_limit_error", "queue_full", retry_after=True)
    check(await full(served, route), route, told)


@by_route
@pytest.mark.parametrize(
    "settings", [{"max_body_bytes": 1024, "max_upload_bytes": 1024}], indirect=True
)
async def test_a_body_above_the_limit_is_413(served: Served, route: Route) -> None:
    reply = await post(served, route, route.body(prompt="x" * 2000))
    check(reply, route, Told(413, "invalid_request_error", "request_too_large"))


@by_route
@pytest.mark.parametrize(
    "settings", [{"body_memory_bytes": 1024, "spool_bytes": 1024}], indirect=True
)
async def test_more_bytes_than_may_be_held_at_once_are_503(served: Served, route: Route) -> None:
    reply = await post(served, route, route.body(prompt="x" * 600_000))
    check(reply, route, Told(503, "service_unavailable", "overloaded", retry_after=True))


@by_route
async def test_a_broken_body_is_400(served: Served, route: Route) -> None:
    reply = await post(served, route, route.body()[:-12])
    code = "invalid_multipart" if route.is_form else "invalid_json"
    check(reply, route, Told(400, "invalid_request_error", code))


@by_route
async def test_a_body_of_the_wrong_kind_is_415(served: Served, route: Route) -> None:
    other = replace(route, is_form=not route.is_form, fields={})
    reply = await served.post(route.path, other.body(), headers=other.headers)
    check(reply, route, Told(415, "invalid_request_error", "unsupported_media_type"))


@pytest.mark.parametrize(
    "route",
    [r for r in ROUTES if r.is_form or r.api in (Api.IMAGE_GENERATIONS, Api.SPEECH)],
    ids=lambda route: route.api.value,
)
async def test_a_model_that_cannot_do_it_is_400(served: Served, route: Route) -> None:
    told = Told(400, "invalid_request_error", "unsupported_capability", "model")
    check(await incapable(served, route), route, told)


def check(reply: Request, route: Route, told: Told) -> None:
    """The answer is *told*, on the wire and for the official client of the route."""
    assert reply.status == told.status, reply.body
    assert reply.headers["content-type"] == "application/json"
    assert ("retry-after" in reply.headers) is told.retry_after
    if told.retry_after:
        assert int(reply.headers["retry-after"]) >= 1
    if route.anthropic:
        _check_messages(reply, told)
        return
    error = reply.error
    assert (error["type"], error["code"], error["param"]) == (told.type, told.code, told.param)
    assert error["message"]
    with pytest.raises(openai.APIStatusError) as caught:
        openai_client(reply).post(route.path, body={}, cast_to=object)
    wanted = OPENAI_CLASSES.get(told.status)
    if wanted is None:
        wanted = openai.InternalServerError if told.status >= 500 else openai.APIStatusError
    assert type(caught.value) is wanted
    assert (caught.value.type, caught.value.code) == (told.type, told.code)
    assert caught.value.param == told.param
    assert caught.value.request_id == reply.headers["x-request-id"]


def _check_messages(reply: Request, told: Told) -> None:
    other = "invalid_request_error" if told.status < 500 else "api_error"
    assert reply.json.keys() == {"type", "error", "request_id"}
    assert reply.json["type"] == "error"
    assert reply.json["error"]["type"] == ANTHROPIC_TYPES.get(told.status, other)
    assert reply.json["error"]["message"]
    client = anthropic.Anthropic(
        api_key="k", base_url="http://llmlb", max_retries=0, http_client=_transport(reply)
    )
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.post("/v1/messages", body={}, cast_to=object)
    assert caught.value.status_code == told.status


def openai_client(reply: Request) -> openai.OpenAI:
    """The official client, of a server that answers *reply*."""
    return openai.OpenAI(
        api_key="k", base_url="http://llmlb", max_retries=0, http_client=_transport(reply)
    )


def _transport(reply: Request) -> httpx2.Client:
    answer = httpx2.Response(reply.status, headers=reply.headers, content=reply.body)
    return httpx2.Client(transport=httpx2.MockTransport(lambda _: answer))
