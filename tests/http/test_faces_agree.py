"""Both faces give the same answers: status, headers, and every byte of the body."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
import trio

from llmlb.http.application import LlmlbApp
from tests.fakes.asgi import Request
from tests.fakes.lane import LaneRequest
from tests.fakes.openai import chat, completion, says
from tests.fakes.served import Served
from tests.fakes.upstream import disconnected, json_answer, replies, sse_answer

CHAT = "/v1/chat/completions"
MIB = 1024 * 1024

Face = Callable[..., Request]


def on_asgi(app: LlmlbApp, path: str, body: bytes, **more: Any) -> Request:
    return Request(app, "POST", path, body, **more)


def on_lane(app: LlmlbApp, path: str, body: bytes, **more: Any) -> Request:
    return LaneRequest(app, path, body, **more)


CASES: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "plain": (CHAT, chat(), {}),
    "stream": (CHAT, chat(stream=True), {}),
    "stream with its usage": (
        CHAT,
        chat(stream=True, stream_options={"include_usage": True}),
        {},
    ),
    "no such model": (CHAT, chat("nobody"), {}),
    "no json": (CHAT, b"{", {}),
    "no body": (CHAT, b"", {}),
    "no text": (CHAT, b"\xff\xfe", {}),
    "a member twice": (CHAT, b'{"model": "tiny", "model": "tiny", "messages": []}', {}),
    "packed": (CHAT, gzip.compress(chat()), {"headers": {"content-encoding": "gzip"}}),
    "packed in an unknown way": (CHAT, chat(), {"headers": {"content-encoding": "zip"}}),
    "a form": (CHAT, b"--x--", {"headers": {"content-type": "multipart/form-data; boundary=x"}}),
    "a foreign page": (CHAT, chat(), {"headers": {"origin": "https://evil.example"}}),
    "a stranger": (CHAT, chat(), {"client": ("192.0.2.1", 5)}),
    "a wrong key": (CHAT, chat(), {"headers": {"authorization": "Bearer sk_wrong"}}),
    "a loop": (CHAT, chat(), {"headers": {"x-llmlb-instance": "a, b"}}),
    "no time": (CHAT, chat(), {"headers": {"x-llmlb-timeout-s": "soon"}}),
    "a control character": (CHAT, chat(), {"headers": {"x-y": "a\x80b"}}),
    "a header twice": (CHAT, chat(), {"headers": [("x-y", "1"), ("x-y", "2")]}),
    "a large body": (CHAT, chat(user="x" * 3 * MIB), {}),
    "embeddings": ("/v1/embeddings", b'{"model": "tiny", "input": "x"}', {}),
    "responses": ("/v1/responses", b'{"model": "tiny", "input": "x"}', {}),
    "messages": (
        "/v1/messages",
        json.dumps({"model": "tiny", "max_tokens": 5, "messages": []}).encode(),
        {},
    ),
}


async def told(served: Served, face: Face, case: str) -> tuple[Any, ...]:
    path, body, more = CASES[case]
    pairs = more.get("headers", {})
    headers = list(pairs.items()) if isinstance(pairs, dict) else list(pairs)
    more = {**more, "headers": [*headers, ("host", "x"), ("x-request-id", "same")]}
    if face is on_asgi:  # as any connection would say of a body that it has read
        more["headers"].append(("content-length", str(len(body))))
    reply = await face(served.app, path, body, **more).run()
    return reply.status, reply.headers, reply.body, reply.complete


@pytest.mark.parametrize("case", CASES)
async def test_both_faces_answer_alike(served: Served, case: str) -> None:
    await served.scene.endpoint("a")
    answers = {False: json_answer(completion()), True: sse_answer(says("A"), says("B"))}
    served.scene.on("a", answers["stream" in case])
    assert await told(served, on_lane, case) == await told(served, on_asgi, case)
    assert not served.scene.leases
    assert served.app.body_budget.held_bytes == 0


@pytest.mark.parametrize(
    "answer",
    [
        sse_answer(says("A"), disconnected()),
        sse_answer(disconnected()),
        sse_answer(says("A"), RuntimeError("what")),
        json_answer({"error": {"message": "no"}}, 400),
        json_answer({"error": {"message": "busy"}}, 429),
        json_answer({"error": {"message": "broken"}}, 500),
        replies(sse_answer(says("A")), after_s=1000),
    ],
    ids=["cut", "empty", "a fault of ours", "400", "429", "500", "late"],
)
async def test_they_end_alike(served: Served, answer: Any) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", answer)
    first = await told(served, on_lane, "stream")
    served.scene.on("a", answer)
    await trio.sleep(1000)  # whatever cools has cooled
    assert first == await told(served, on_asgi, "stream")
