"""Little that unfolds to much: deep JSON, long strings, and bodies that unpack without end."""

from __future__ import annotations

import gzip
import json
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from llmlb.types import Api
from tests.fakes.accounts import bearer
from tests.fakes.asgi import Request
from tests.fakes.forms import CONTENT_TYPE, Fields, form_bytes
from tests.fakes.house import PATHS, url
from tests.fakes.openai import chat, chunk, finish, says
from tests.fakes.upstream import Answer, json_answer, sse_answer
from tests.sampling import some
from tests.security.test_injection import (
    OPERATIONS,
    WITH_BODIES,
    assert_sound,
    body_in,
    credential_for,
    fields_of,
    from_anywhere,
    path_of,
)
from tests.security.town import Town

if sys.version_info >= (3, 14):
    from compression.zstd import compress as zstd
else:
    from backports.zstd import compress as zstd

MIB = 1024 * 1024
DEPTH = 100_000

BOUND_S = 10.0
"""Of the processor's time: a hundred times what it takes, a hundredth of what a square takes."""


@contextmanager
def soon() -> Iterator[None]:
    began_s = time.process_time()
    yield
    assert time.process_time() - began_s < BOUND_S


BOMBS: dict[str, bytes] = {
    "lists": b"[" * DEPTH + b"]" * DEPTH,
    "lists without end": b"[" * DEPTH,
    "objects": b'{"a":' * DEPTH + b"1" + b"}" * DEPTH,
    "objects without end": b'{"a":' * DEPTH,
    "a string that holds one": json.dumps("[" * DEPTH).encode(),
    "escapes": b'"' + b"\\u0000" * DEPTH + b'"',
    "half a string": b'"' + b"\\" * (DEPTH + 1),
}

each_bomb = pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)


@each_bomb
@pytest.mark.parametrize("route", WITH_BODIES)
async def test_depth_is_refused_or_passed_on_and_never_followed(
    town: Town, route: str, bomb: bytes
) -> None:
    method, template = route.split()
    operation = OPERATIONS[route]
    example = json.dumps((body_in(operation) or {})["example"]).encode()
    known = fields_of(operation)[0].encode()
    bodies = (
        bomb,
        b'{"%b":%b,' % (known, bomb) + example[1:],
        example[:-1] + b',"unknown":%b}' % bomb,
    )
    for body in some(bodies, (route, bomb[:9]), every=2):
        headers = credential_for(town, template)
        with soon():
            reply = await town(method, path_of(template), body, headers=headers)
        assert_sound(reply, route)
    assert (await town("GET", "/ready")).status == 200


# -- what an endpoint answers


@each_bomb
@pytest.mark.parametrize("api", [api for api in PATHS if api is not Api.IMAGE_VARIATION])
async def test_no_answer_of_an_endpoint_is_followed_into_its_depth(
    town: Town, api: Api, bomb: bytes
) -> None:
    whole = {"content-type": "application/json"}
    events = {"content-type": "text/event-stream"}
    answers = (
        Answer(200, whole, [bomb]),
        Answer(200, whole, [b'{"id":"x","choices":', bomb, b',"usage":', bomb, b"}"]),
        Answer(400, whole, [b'{"error":', bomb, b"}"]),
        Answer(500, whole, [bomb]),
        Answer(200, events, [b"data: ", bomb, b"\n\n", b"data: [DONE]\n\n"]),
        Answer(200, events, [b'data: {"usage": {"x":', bomb, b'},"finish_reason":"stop"}\n\n']),
        Answer(200, events, [b"event: error\ndata: ", bomb, b"\n\n"]),
    )
    for answer in some(answers, (api, bomb[:9]), every=3):
        town.served.scene.on("a", answer, api)
        with soon():
            reply = await asked(town, api)
        assert reply.answer[0]["status"] != 500
        assert not town.served.scene.leases
    assert (await town("GET", "/ready")).status == 200


async def asked(town: Town, api: Api) -> Request:
    """One request of that kind; a stream, where there are streams."""
    headers = bearer("ann-all")
    if api in (Api.TRANSCRIPTION, Api.TRANSLATION, Api.IMAGE_EDIT):
        name = "image" if api is Api.IMAGE_EDIT else "file"
        fields: Fields = {"model": "tiny", "prompt": "x", name: ("a", "image/png", b"x")}
        body = form_bytes(fields)
        return await town(
            "POST", PATHS[api], body, headers={**headers, "content-type": CONTENT_TYPE}
        )
    body = chat(stream=True, max_tokens=5, prompt="x", input="x", query="x", documents=["y"])
    return await town("POST", PATHS[api], body, headers=headers)


@each_bomb
async def test_no_tools_arguments_are_followed_into_their_depth(town: Town, bomb: bytes) -> None:
    """On the way from a chat to Messages the arguments are looked into."""
    pieces = [bomb[i : i + 4096].decode("latin-1") for i in range(0, len(bomb), 4096)]
    called = [
        chunk({"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f", "arguments": p}}]})
        for p in pieces
    ]
    town.served.scene.on("a", sse_answer(*called, finish("tool_calls")))
    tool = {"name": "f", "input_schema": {"type": "object"}}
    for stream in (True, False):
        if not stream:
            call = {
                "id": "x",
                "type": "function",
                "function": {"name": "f", "arguments": "".join(pieces)},
            }
            choice = {"index": 0, "message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}
            town.served.scene.on("a", json_answer({"id": "c", "choices": [choice]}))
        body = chat(stream=stream, max_tokens=5, tools=[tool])
        with soon():
            reply = await town("POST", "/v1/messages", body, headers=bearer("ann-all"))
        assert reply.answer[0]["status"] != 500


@each_bomb
async def test_no_list_of_models_is_followed_into_its_depth(town: Town, bomb: bytes) -> None:
    upstream, ann = town.served.upstream, town.by_token("ann")
    whole = {"content-type": "application/json"}
    for path in ("/v1/models", "/api/tags", "/props", "/health", "/v0/system", "/api/v0/models"):
        for body in (bomb, b'{"data":[{"id":"tiny","x":' + bomb + b"}]}"):
            upstream.on(url("a"), "GET", path, Answer(200, whole, [body]))
            with soon():
                reply = await town("POST", "/api/endpoints/id-a/sync", headers=ann)
            assert_sound(reply, path)
    assert (await town("GET", "/ready")).status == 200


# -- what is long


async def test_long_strings_are_refused_by_management(town: Town) -> None:
    for route in WITH_BODIES:
        method, template = route.split()
        if template.startswith("/v1") or "chat" in template:
            continue
        for name in fields_of(OPERATIONS[route]):
            body = b'{"%b":"%b"}' % (name.encode(), b"x" * (10 * MIB))
            headers = credential_for(town, template)
            reply = await town(method, path_of(template), body, headers=headers)
            assert reply.status in ({404} if template == "/setup" else {413}), (route, name)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
@pytest.mark.parametrize("name", ["model", "stream", "messages", "user", "x" * 1000])
async def test_long_strings_are_text_to_inference(town: Town, path: str, name: str) -> None:
    body = chat(max_tokens=5)[:-1] + b',"%b":"%b"}' % (name.encode(), b"\\u00e9x" * MIB)
    with soon():
        reply = await town("POST", path, body, headers=bearer("ann-all"))

    assert_sound(reply, name)
    assert len(reply.body) < 10_000, "nobody gets it back"


async def test_long_names_are_cut_in_what_is_said_of_them(town: Town) -> None:
    long = "x" * MIB
    for path in ("/v1/chat/completions", "/v1/messages"):
        reply = await town("POST", path, chat(long, max_tokens=5), headers=bearer("ann-all"))
        assert reply.status == 404
        assert len(reply.body) < 1_000
    many = json.dumps({f"field{n}": n for n in range(20_000)}).encode()
    reply = await town("POST", "/api/users", many, headers=town.by_token("ann"))
    assert reply.status == 400
    assert len(reply.body) < 2_000


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("options", ["", ',"stream":true,"stream_options":{}'])
async def test_many_values_hold_up_nobody_and_are_no_endpoints_fault(
    town: Town, path: str, options: str
) -> None:
    """To give the model its own name, or to ask for usage, a body is looked through."""
    await town.served.scene.endpoint("b", "own", model_aliases=(("other", "own"),))
    town.served.scene.on("b", sse_answer(says("x"), finish()))
    many = b",".join([b"[]"] * 500_001)
    body = b'{"x":"\\u0041","max_tokens":5,"messages":[{"role":"user","content":"x"}],"y":[%b]'
    for _ in range(3):
        with soon():
            whole = body % many + b',"model":"other"%b}' % options.encode()
            reply = await town("POST", path, whole, headers=bearer("ann-all"))
        assert reply.status in ((400,) if "chat" in path else (200, 400)), reply.body
        assert not town.served.scene.leases
    good = chat("other", stream=True)
    reply = await town("POST", "/v1/chat/completions", good, headers=bearer("ann-all"))
    assert reply.status == 200


# -- bodies that unpack

small = pytest.mark.parametrize(
    "settings", [{"max_body_bytes": MIB, "max_upload_bytes": MIB}], ids=["1 MiB"]
)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "zstd": ("zstd", zstd),
}
each_packer = pytest.mark.parametrize(("encoding", "pack"), PACKERS.values(), ids=PACKERS)


@small
@each_packer
@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/messages", "/v1/audio/transcriptions", "/api/users"]
)
async def test_a_body_that_unpacks_without_end_is_left_at_the_limit(
    town: Town, encoding: str, pack: Callable[[bytes], bytes], path: str
) -> None:
    if path.endswith("transcriptions"):
        kind, front = CONTENT_TYPE, form_bytes({"file": ("a", "x/y", b"@")}).partition(b"@")[0]
    else:
        kind, front = "application/json", b'{"model":"tiny","x":"'
    bomb = pack(front + b"\0" * (64 * MIB))
    assert len(bomb) < MIB
    headers = {**credential_for(town, path), "content-encoding": encoding, "content-type": kind}

    tracemalloc.start()
    with soon():
        reply = await town("POST", path, bomb, headers=headers)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (reply.status, reply.error["code"] if "messages" not in path else "") in (
        (413, "request_too_large"),
        (413, ""),
    )
    assert peak_bytes < 24 * MIB
    assert town.served.app.body_budget.held_bytes == 0
    assert not town.served.scene.requests()


@each_packer
async def test_whoever_is_nobody_has_nothing_unpacked(
    town: Town, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    bomb = pack(b"\0" * (64 * MIB))
    for path in ("/v1/chat/completions", "/api/users"):
        with soon():
            reply = await town("POST", path, bomb, headers={"content-encoding": encoding})
        assert reply.status == 401
        assert town.served.app.body_budget.held_bytes == 0


@each_packer
async def test_what_is_broken_or_packed_twice_is_refused(
    town: Town, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    good = pack(chat())
    many = pack(b"") * 100_000
    for body, told in (
        (good[:-5], encoding),
        (good[:10] + b"\xff" * 10 + good[20:], encoding),
        (b"", encoding),
        (chat(), encoding),
        (good + b"more", encoding),
        (pack(good), f"{encoding}, {encoding}"),
        (good, f"{encoding};q=1"),
        (good, "br"),
        (good, "x" * 1000),
        (many, encoding),
    ):
        headers = {**bearer("ann-all"), "content-encoding": told}
        with soon():
            reply = await town("POST", "/v1/chat/completions", body, headers=headers)
        assert reply.status in (400, 413, 415), (told[:20], body[:20], reply.body)
    town.served.scene.on("a", sse_answer(says("x"), finish()))
    reply = await town(
        "POST",
        "/v1/chat/completions",
        pack(chat(stream=True)),
        headers={**bearer("ann-all"), "content-encoding": encoding},
        **from_anywhere(),
    )
    assert reply.status == 200
