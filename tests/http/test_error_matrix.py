"""Every inference route × every way to fail: status, type, code, and the class of the SDK."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import anthropic
import httpx2
import openai
import pytest
import trio

from llmlb.accounts import KeyLimits, Permission
from llmlb.types import Api, Capability, EndpointId
from tests.fakes.accounts import EVERYTHING, LONG_AGO, key, moved_in, secret_of, user
from tests.fakes.asgi import Request
from tests.fakes.forms import CONTENT_TYPE, form_bytes
from tests.fakes.house import PATHS, Scene, url
from tests.fakes.openai import completion
from tests.fakes.served import Served
from tests.fakes.upstream import Answer, SeenCall, hangs, json_answer, refused

pytestmark = pytest.mark.adversary

MESSAGES = {"messages": [{"role": "user", "content": "Hi"}]}


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
        return {"content-type": CONTENT_TYPE if self.is_form else "application/json"}

    @property
    def anthropic(self) -> bool:
        return self.api in (Api.MESSAGES, Api.COUNT_TOKENS)

    def body(self, **more: Any) -> bytes:
        fields = {"model": "tiny", **self.fields, **more}
        fields = {name: value for name, value in fields.items() if value is not None}
        return form_bytes(fields) if self.is_form else json.dumps(fields).encode()


SOUND: dict[str, Any] = {"file": ("a.wav", "audio/wav", b"RIFF")}
PICTURE: dict[str, Any] = {"image": ("a.png", "image/png", b"\x89PNG"), "prompt": "a hat"}
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


def behind(others: int) -> Ask:
    """Comes after so many that hang: the first of them has the only slot."""

    async def ask(served: Served, route: Route) -> Request:
        await endpoint(served.scene, route)
        served.scene.on("a", hangs, route.api)
        for _ in range(others):
            served.begin(served.request("POST", route.path, route.body(), headers=route.headers))
            await served.scene.settle()
        return await post(served, route)

    return ask


async def full(served: Served, route: Route) -> Request:
    reply = await behind(2)(served, route)
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


def with_key(*, shown: str | None = "laptop", **fields: Any) -> Ask:
    """Asks with a key, once there are people: one that is unknown, or that has *fields*."""

    async def ask(served: Served, route: Route) -> Request:
        await moved_in(served.app.house, user(), key(**fields))
        await endpoint(served.scene, route)
        headers = {} if shown is None else {"x-api-key": secret_of(shown)}
        reply = await post(served, route, None, **headers)
        assert not served.scene.requests()
        return reply

    return ask


async def beyond_the_limit(served: Served, route: Route) -> Request:
    limits = KeyLimits(requests_per_minute=1)
    await moved_in(served.app.house, user(), key(limits=limits))
    await endpoint(served.scene, route)
    headers = {"x-api-key": secret_of("laptop")}
    assert (await post(served, route, None, **headers)).status == 200
    reply = await post(served, route, None, **headers)
    assert reply.headers["x-ratelimit-remaining-requests"] == "0"
    return reply


async def of_the_other_kind(served: Served, route: Route) -> Request:
    other = replace(route, is_form=not route.is_form, fields={})
    return await post(served, other)


async def by_get(served: Served, route: Route) -> Request:
    return await served("GET", route.path)


async def broken_inside(served: Served, route: Route) -> Request:
    await endpoint(served.scene, route)
    served.scene.on("a", RuntimeError("a secret of ours"), route.api)
    reply = await post(served, route)
    assert b"secret" not in reply.body
    assert reply.headers["x-request-id"].encode() in reply.body
    return reply


UPSTREAM = Told(502, "upstream_error", "upstream_error")


@dataclass(frozen=True)
class Situation:
    """One way to fail, what is said of it, and where and with which settings it comes about."""

    ask: Ask
    told: Told
    settings: dict[str, Any] = field(default_factory=dict)
    concerns: Callable[[Route], bool] = lambda route: True


def refusal(status: int) -> Situation:
    """The endpoint refuses the request: its words and its status are passed on."""
    error = {"message": "no", "type": "invalid_request_error", "param": "x", "code": "c"}
    told = Told(status, error["type"], error["code"], error["param"])
    return Situation(with_answer(json_answer({"error": error}, status)), told)


SITUATIONS: dict[str, Situation] = {
    "no model": Situation(
        with_body(lambda route: route.body(model=None)),
        Told(400, "invalid_request_error", "missing_field", "model"),
    ),
    "an unknown model": Situation(
        with_body(lambda route: route.body(model="unknown")),
        Told(404, "invalid_request_error", "model_not_found", "model"),
    ),
    "broken JSON": Situation(
        with_body(lambda route: route.body()[:-12]),
        Told(400, "invalid_request_error", "invalid_json"),
        concerns=lambda route: not route.is_form,
    ),
    "a broken form": Situation(
        with_body(lambda route: route.body()[:-12]),
        Told(400, "invalid_request_error", "invalid_multipart"),
        concerns=lambda route: route.is_form,
    ),
    "a body of the wrong kind": Situation(
        of_the_other_kind, Told(415, "invalid_request_error", "unsupported_media_type")
    ),
    "a body above the limit": Situation(
        with_body(lambda route: route.body(prompt="x" * 2000)),
        Told(413, "invalid_request_error", "request_too_large"),
        {"max_body_bytes": 1024, "max_upload_bytes": 1024},
    ),
    "more bytes than may be held at once": Situation(
        with_body(lambda route: route.body(prompt="x" * 600_000)),
        Told(503, "service_unavailable", "overloaded", retry_after=True),
        {"body_memory_bytes": 1024, "spool_bytes": 1024},
    ),
    "the wrong method": Situation(by_get, Told(405, "invalid_request_error", "method_not_allowed")),
    "not from this machine": Situation(
        from_elsewhere, Told(403, "permission_error", "setup_required")
    ),
    "no key": Situation(with_key(shown=None), Told(401, "authentication_error", "missing_api_key")),
    "an unknown key": Situation(
        with_key(shown="another"), Told(401, "authentication_error", "invalid_api_key")
    ),
    "a key that is disabled": Situation(
        with_key(enabled=False), Told(401, "authentication_error", "invalid_api_key")
    ),
    "a key that has expired": Situation(
        with_key(expires_at=LONG_AGO), Told(401, "authentication_error", "expired_api_key")
    ),
    "a key without the permission": Situation(
        with_key(permissions=EVERYTHING - {Permission.INFERENCE}),
        Told(403, "permission_error", "insufficient_permissions"),
    ),
    "a key that may not use the model": Situation(
        with_key(allowed_models=frozenset({"other"})),
        Told(403, "permission_error", "insufficient_permissions", "model"),
    ),
    "beyond the key's limit": Situation(
        beyond_the_limit,
        Told(429, "rate_limit_error", "rate_limit_exceeded", retry_after=True),
    ),
    "a loop": Situation(looping, Told(508, "upstream_error", "loop_detected")),
    "a model that cannot do it": Situation(
        incapable,
        Told(400, "invalid_request_error", "unsupported_capability", "model"),
        concerns=lambda route: route.is_form or route.api in (Api.IMAGE_GENERATIONS, Api.SPEECH),
    ),
    "offline": Situation(
        offline, Told(503, "service_unavailable", "no_capable_endpoints", retry_after=True)
    ),
    "a full line": Situation(
        full,
        Told(429, "rate_limit_error", "queue_full", retry_after=True),
        {"queue_max": 1},
    ),
    "the line takes too long": Situation(behind(1), Told(504, "timeout_error", "queue_timeout")),
    "draining": Situation(
        draining, Told(503, "service_unavailable", "shutting_down", retry_after=True)
    ),
    "a fault of ours": Situation(broken_inside, Told(500, "server_error", "internal_error")),
    "out of reach": Situation(
        with_answer(refused()), Told(502, "upstream_error", "upstream_unreachable")
    ),
    "a 500": Situation(with_answer(json_answer({"error": "boom"}, 500)), UPSTREAM),
    "a 503": Situation(with_answer(Answer(503)), UPSTREAM),
    "an empty 200": Situation(with_answer(Answer(200)), UPSTREAM),
    "an error in a 200": Situation(
        with_answer(json_answer({"error": {"message": "boom"}})), UPSTREAM
    ),
    "our key refused": Situation(with_answer(json_answer({"error": "key"}, 401)), UPSTREAM),
    "too slow": Situation(with_answer(hangs), Told(504, "timeout_error", "upstream_timeout")),
    "rate limited": Situation(
        with_answer(json_answer({"error": "slower"}, 429, retry_after=7)),
        Told(429, "rate_limit_error", "upstream_rate_limited", retry_after=True),
    ),
    "refused": refusal(400),
    "a conflict": refusal(409),
    "unprocessable": refusal(422),
}

OPENAI_CLASSES: dict[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
}

ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


CASES = [
    pytest.param(situation, route, id=f"{name}-{route.api.value}")
    for name, situation in SITUATIONS.items()
    for route in filter(situation.concerns, ROUTES)
]


@pytest.fixture
def settings(situation: Situation) -> dict[str, Any]:
    return situation.settings


@pytest.mark.parametrize(("situation", "route"), CASES)
async def test_a_failure_is_told_in_the_words_of_the_route(
    served: Served, situation: Situation, route: Route
) -> None:
    check(await situation.ask(served, route), route, situation.told)


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
    client = openai.OpenAI(
        api_key="k", base_url="http://llmlb", max_retries=0, http_client=_transport(reply)
    )
    with pytest.raises(openai.APIStatusError) as caught:
        client.post(route.path, body={}, cast_to=object)
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


def _transport(reply: Request) -> httpx2.Client:
    answer = httpx2.Response(reply.status, headers=reply.headers, content=reply.body)
    return httpx2.Client(transport=httpx2.MockTransport(lambda _: answer))
