"""Whatever a client sends, it gets an answer or an error in the API's shape, and never a 500."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
import structlog
import trio
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import MockClock

from llmlb.http.application import create_app
from llmlb.http.openapi.document import ROUTES
from llmlb.settings import Settings
from llmlb.world import World
from tests.fakes.asgi import Request
from tests.fakes.house import NOW, PATHS, run_inline
from tests.fakes.openai import chat, completion
from tests.fakes.served import Served
from tests.fakes.upstream import FakeUpstream, json_answer

pytestmark = pytest.mark.simulation

some = hypothesis_settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

KNOWN = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
methods = st.one_of(st.sampled_from(KNOWN), st.text(alphabet="ABCxyz!#-_.", min_size=1, max_size=9))

DESCRIBED = sorted({route.path for route in ROUTES} - {"/api/dashboard/events"})
"""All but the stream that has no end."""
OTHERS = ("", "/", "//", "/v1", "/v1/", "/v1//models", "/api", "/v0/endpoints", "/api/models/a/b")
ODD = (
    "..",
    ".",
    "%",
    "%00",
    "\x00",
    "\n",
    "é",
    "\udcff",
    "tiny",
    "id-a",
    "a" * 3000,
    "a b",
    "?",
    "#",
)

pieces = st.one_of(st.sampled_from(ODD), st.text(st.characters(codec="utf-8"), max_size=8))


@st.composite
def paths(draw: st.DrawFn) -> bytes:
    """A path as it came over the wire, decoded: routes, with anything in place of what varies."""
    path = draw(st.sampled_from([*DESCRIBED, *OTHERS]))
    while "{" in path:
        before, _, after = path.partition("{")
        path = before + draw(pieces) + after.partition("}")[2]
    if draw(st.integers(0, 4)) == 0:
        path += draw(st.sampled_from(["/", "//", ""])) + draw(pieces)
    return path.encode("utf-8", "surrogateescape")


queries = st.one_of(
    st.just(b""),
    st.binary(max_size=20),
    st.lists(
        st.tuples(
            st.sampled_from(["page", "per_page", "status", "verify", "x"]),
            st.sampled_from(["1", "0", "-1", "1_0", "true", "online", "%ff", "%00", "+", "9" * 50]),
        ),
        max_size=3,
    ).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs).encode()),
)

NAMES = (
    "accept", "authorization", "connection", "content-encoding", "content-length", "content-type",
    "cookie", "expect", "host", "if-none-match", "origin", "range", "traceparent",
    "transfer-encoding", "upgrade", "x-http-method-override", "x-llmlb-instance", "x-request-id",
)  # fmt: skip
VALUES = (
    "", "0", "-1", "5", "99999999999", "1e3", "*/*", "text/plain", "application/json",
    "application/json; charset=utf-16", "multipart/form-data; boundary=x", "multipart/form-data",
    "application/x-www-form-urlencoded", "gzip", "chunked", "100-continue", "h2c", "DELETE",
    "a=b; c", "http://[", "null", "http://localhost", "[::1", "\xff\xfe", "a\tb", ",", "=" * 500,
)  # fmt: skip
VISIBLE = st.characters(codec="latin-1", exclude_characters="\x00\t\n\x0b\x0c\r \x7f")
"""What HTTP lets a server take into a header: the rest ends the connection before us."""

headers = st.lists(
    st.tuples(
        st.one_of(st.sampled_from(NAMES), st.text(alphabet="abcX-_", min_size=1, max_size=9)),
        st.one_of(st.sampled_from(VALUES), st.text(VISIBLE, max_size=9)),
    ),
    max_size=5,
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["", "tiny", "sse", "id-a", "http://a.lan:8000", "a\x00", "\U0001f600"]),
    st.text(max_size=6),
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = (
    "model", "stream", "stream_options", "n", "prompt", "messages", "max_tokens", "input", "system",
    "tools", "tool_choice", "stream_format", "background", "name", "base_url", "api_key", "notes",
    "max_concurrency", "extra_headers", "health_check_interval_secs", "inference_timeout_secs",
)  # fmt: skip
SENSIBLE: list[dict[str, Any]] = [
    json.loads(chat()),
    {"model": "tiny", "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]},
    {"model": "tiny", "input": "hello"},
    {"name": "b", "base_url": "http://b.lan"},
]
objects = st.tuples(
    st.sampled_from([{}, *SENSIBLE]),
    st.dictionaries(st.sampled_from(FIELDS), anything, max_size=3),
).map(lambda both: json.dumps({**both[0], **both[1]}).encode())
bodies = st.one_of(
    st.just(b""),
    st.binary(max_size=40),
    st.sampled_from([b"[" * 5000, b"{" * 5000, b'{"a":' * 3000, b"\xff\xfe{\x00}\x00", b"1e999"]),
    anything.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
    objects,
    st.tuples(objects, st.integers(0, 200)).map(lambda both: both[0][: both[1]]),
)


@asynccontextmanager
async def serving(data_dir: Path) -> AsyncIterator[Served]:
    """An application with one endpoint that answers everything alike."""
    upstream = FakeUpstream()
    app = create_app(
        Settings(data_dir=data_dir, database_url="sqlite::memory:", queue_timeout_s=1.0),
        client=upstream,
        world=World(now=lambda: NOW, rng=random.Random(1)),
        run_in_thread=run_inline,
    )
    async with trio.open_nursery() as nursery:
        served = Served(app, upstream, nursery)
        await served.lifespan.start(nursery)
        structlog.reset_defaults()
        await served.scene.endpoint("a")
        for api in PATHS:
            served.scene.on("a", json_answer(completion()), api)
        yield served
        await served.lifespan.stop()


@dataclass(frozen=True)
class Sent:
    """One request, as bytes."""

    method: str
    path: bytes
    query: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


async def answer_to(sent: Sent, data_dir: Path) -> Request:
    async with serving(data_dir) as served:
        reply = await served(
            sent.method,
            sent.path.decode("utf-8", "replace"),
            sent.body,
            headers=sent.headers,
            query_string=sent.query,
            raw_path=quote_from_bytes(sent.path).encode(),
        )
        assert (await served("GET", "/ready")).status == 200, "it serves on"
        assert not served.scene.leases
        assert served.app.body_budget.held_bytes == 0
        return reply


@some
@example(sent=Sent("GET", b"/v1/models/\xff", b"\xff=%", [("host", "[")]))
@example(sent=Sent("GET", b""))
@example(sent=Sent("GET", b"http://["))
@example(sent=Sent("OPTIONS", b"*"))
@example(sent=Sent("POST", b"/v1/chat/completions", body=chat()))
@example(sent=Sent("GET", b"/setup"))
@example(sent=Sent("POST", b"/setup", b"", [("content-type", "application/x-www-form-urlencoded")]))
@given(sent=st.builds(Sent, methods, paths(), queries, headers, bodies))
def test_any_request(tmp_path: Path, sent: Sent) -> None:
    with capture_logs() as logs:
        reply: Request = trio.run(answer_to, sent, tmp_path, clock=MockClock(autojump_threshold=0))

    assert reply.complete
    assert reply.headers["x-request-id"]
    assert reply.status != 500, logs
    if reply.status < 300:
        return
    assert reply.status >= 400, "there is nothing to redirect to"
    if sent.path.startswith(b"/v1/messages"):
        assert reply.json["type"] == "error"
        assert reply.json["error"].keys() == {"type", "message"}
    elif reply.headers["content-type"].startswith("text/html"):
        assert sent.path == b"/setup", "the one page there is"
    elif sent.method != "HEAD":
        assert reply.error["message"]
    assert reply.status != 405 or reply.headers["allow"]
