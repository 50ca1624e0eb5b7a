"""What an endpoint tells of its log, and what is made of one that tells nothing, or nonsense."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import trio
from pydantic import TypeAdapter

from llmlb.http.manage.endpoint_logs import ANSWER_LIMIT_BYTES, ANSWER_LIMIT_S
from llmlb.http.openapi.logs import EndpointLogShown
from llmlb.types import EndpointId, Engine
from tests.fakes.asgi import Request
from tests.fakes.house import url
from tests.fakes.served import Served
from tests.fakes.upstream import Answer, Handler, disconnected, hangs, json_answer, refused, replies

KEY, HEADER = "key-of-the-endpoint", "header of the endpoint"

ENTRY = {
    "timestamp": "2026-03-01T12:00:00Z",
    "level": "INFO",
    "target": "xllm::server",
    "message": "a model was loaded",
    "fields": {"model": "tiny", "ms": 12.5, "deep": [None, True]},
    "line": 7,
}


@pytest.fixture
async def xllm(served: Served) -> Served:
    """With an xLLM that holds secrets of ours."""
    headers = (("x-team", HEADER),)
    await served.scene.endpoint("a", "tiny", api_key=KEY, extra_headers=headers)
    await turned_into(served, Engine.XLLM)
    return served


async def turned_into(served: Served, engine: Engine | None) -> None:
    id_a = EndpointId("id-a")
    await served.app.house.registry.update(id_a, lambda e: replace(e, engine=engine))


async def ask(
    served: Served, answer: Answer | Handler, query: str = "", tail: int = 200
) -> Request:
    """What is shown if the endpoint answers this to who asks for its newest *tail* entries."""
    served.upstream.on(url("a"), "GET", f"/api/logs?tail={tail}", answer)
    return await served("GET", "/api/endpoints/id-a/logs", query_string=query.encode())


async def test_it_is_asked_for_its_newest_entries(xllm: Served) -> None:
    many = [{**ENTRY, "line": n} for n in range(1200)]
    answer = json_answer({"source": "xllm", "entries": many, "path": "/var/log/xllm", "more": 1})
    for query, tail in {
        "": 200,
        "limit=1": 1,
        "limit=0": 1,
        "limit=-5": 1,
        "limit=1000": 1000,
        "limit=1001": 1000,
        "limit=" + "9" * 50: 1000,
        "limit=all": 200,
        "limit=": 200,
    }.items():
        reply = await ask(xllm, answer, query, tail)

        assert reply.status == 200, (query, reply.body)
        TypeAdapter(EndpointLogShown).validate_json(reply.body, strict=True)
        assert (reply.json["source"], reply.json["path"]) == ("a", "/var/log/xllm")
        assert [e["line"] for e in reply.json["entries"]] == list(range(1200 - tail, 1200))
        assert reply.json["entries"][0] == {**ENTRY, "line": 1200 - tail}


async def test_lines_of_text_are_entries_too(xllm: Served) -> None:
    reply = await ask(xllm, json_answer({"entries": ["one", "two"]}))
    assert reply.json == {"source": "a", "entries": [{"message": "one"}, {"message": "two"}]}


async def test_no_secret_of_ours_comes_back(xllm: Served) -> None:
    said = f"authorization: Bearer {KEY}; x-team: {HEADER}"
    nested: Any = said
    for _ in range(300):
        nested = [nested]
    entries = [
        {"message": said, "fields": {"headers": {"x-team": HEADER}, KEY: [said], "n": nested}},
        said,
    ]
    reply = await ask(xllm, json_answer({"entries": entries, "path": f"/x/{KEY}"}))
    assert reply.status == 200
    assert KEY not in reply.body.decode()
    assert HEADER not in reply.body.decode()
    refusal = await ask(xllm, json_answer({"error": {"message": said}}, 500))
    assert refusal.status == 502
    assert KEY not in refusal.body.decode()


async def test_an_engine_without_logs_is_not_asked(xllm: Served) -> None:
    for engine in (Engine.OLLAMA, Engine.LLAMACPP, Engine.VLLM, Engine.LM_STUDIO):
        await turned_into(xllm, engine)
        reply = await ask(xllm, json_answer({"entries": []}))
        assert (reply.status, reply.error["code"]) == (400, "unsupported_capability")
        assert engine.value in reply.error["message"]
    assert not xllm.upstream.seen("/api/logs?tail=200")


async def test_one_that_does_not_know_the_route_has_no_logs_either(xllm: Served) -> None:
    for engine in (Engine.XLLM, Engine.OPENAI, None):
        await turned_into(xllm, engine)
        for status in (404, 405):
            reply = await ask(xllm, json_answer({"error": "no"}, status))
            assert (reply.status, reply.error["code"]) == (400, "unsupported_capability")


GARBAGE: dict[str, Answer] = {
    "no object": json_answer([1]),
    "no entries": json_answer({"lines": []}),
    "entries that are none": json_answer({"entries": {"a": 1}}),
    "an entry that is none": json_answer({"entries": ["x", 7]}),
    "a page": Answer(200, {"content-type": "text/html"}, [b"<html>"]),
    "nothing": Answer(200, {}, [b""]),
    "half": Answer(200, {}, [b'{"entries": ["x']),
    "too deep": Answer(200, {}, [b"[" * 100_000]),
    "too large": Answer(200, {}, [b'{"entries": ["', b"x" * ANSWER_LIMIT_BYTES, b'"]}']),
    "broken off": Answer(200, {}, [b'{"entries": [', disconnected()]),
    "without end": Answer(200, {}, [b'{"entries": [', 10_000.0]),
    "a refusal": json_answer({"error": "no"}, 403),
    "a fault": json_answer({"error": "no"}, 500),
    "a redirect": Answer(307, {"location": "http://elsewhere/"}, [b""]),
}


async def test_nonsense_is_the_endpoints_fault(xllm: Served) -> None:
    for name, answer in GARBAGE.items():
        reply = await ask(xllm, answer)
        assert (reply.status, reply.error["code"]) == (502, "upstream_error"), name
        assert "'a'" in reply.error["message"]
    assert all(call.closed for call in xllm.upstream.seen("/api/logs?tail=200"))


async def test_one_that_does_not_answer_is_not_waited_for(xllm: Served) -> None:
    for answer in (replies(refused()), hangs):
        began_s = trio.current_time()
        reply = await ask(xllm, answer)
        assert (reply.status, reply.error["code"]) == (502, "upstream_unreachable")
        assert trio.current_time() - began_s <= ANSWER_LIMIT_S + 1


async def test_one_that_is_offline_or_unknown_is_not_asked(served: Served) -> None:
    await served.scene.register("gone")
    await served.scene.settle()
    served.upstream.calls.clear()
    reply = await served("GET", "/api/endpoints/id-gone/logs")
    assert (reply.status, reply.error["code"]) == (503, "endpoint_offline")
    assert not served.upstream.calls
    assert (await served("GET", "/api/endpoints/id-none/logs")).status == 404
    assert json.loads(reply.body)["error"]["type"] == "service_unavailable"
