"""Requests that the balancer itself makes: what they carry, where they go, and what comes back.

The whole application with its own client, on a network in memory.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
import trio.testing

from llmlb.addresses import Address
from llmlb.http.application import create_app
from llmlb.http.upstream.guarded import GuardedNetwork
from llmlb.http.upstream.listener import Listener
from llmlb.http.upstream.pooled_client import PooledUpstreamClient
from llmlb.http.upstream.rules import for_endpoints
from llmlb.settings import Settings
from llmlb.types import EndpointId
from llmlb.world import World
from tests.fakes.asgi import Lifespan, Request
from tests.fakes.house import NOW, run_inline
from tests.fakes.network import MemoryNetwork, ServerSide
from tests.fakes.openai import chat, completion, finish, says

CHAT = "/v1/chat/completions"
MODELS = json.dumps({"object": "list", "data": [{"id": "tiny", "object": "model"}]}).encode()
PLAIN = json.dumps(completion()).encode()
STREAM = b"".join(b"data: %s\n\n" % json.dumps(e).encode() for e in (says("Hi"), finish()))
KEY, TENANT = "sk-endpoint-0123456789", "tenant-secret"


def ours(address: Address) -> bool:
    return str(address) in {"127.0.0.1", "192.168.1.5"}


LISTENER = Listener("0.0.0.0", 32768, ours)


class Outside:
    """The application, and the network that it looks out on."""

    def __init__(self, nursery: trio.Nursery, data_dir: Path) -> None:
        self.network = MemoryNetwork(nursery, self._serve)
        self.addresses: dict[str, Sequence[str]] = {}
        """Of names; others lead to 10.0.0.1."""
        self.head: Sequence[bytes] = ()
        """Of the answers to requests for inference, beside what each of them has."""
        self.status = b"200 OK"
        self.models_status = b"200 OK"
        guarded = GuardedNetwork(
            for_endpoints(LISTENER), network=self.network, resolve=self._resolve
        )
        self.client = PooledUpstreamClient(instance_id="us", connect_timeout_s=5, network=guarded)
        self.app = create_app(
            Settings(data_dir=data_dir, database_url="sqlite::memory:"),
            client=self.client,
            world=World(now=lambda: NOW, rng=random.Random(1)),
            run_in_thread=run_inline,
        )

    async def _resolve(self, host: str, port: int) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        return self.addresses.get(host, [host] if host[0].isdigit() else ["10.0.0.1"])

    async def _serve(self, side: ServerSide) -> None:
        while request := await side.request():
            if b" /v1/models " in request:
                await side.reply(MODELS, self.models_status, *self.head)
            elif b" /v1/chat/completions " not in request:
                await side.reply(b"{}", b"404 Not Found")
            elif b'"stream": true' in request:
                streamed = b"content-type: text/event-stream"
                await side.reply(STREAM, self.status, streamed, *self.head)
            else:
                await side.reply(PLAIN, self.status, *self.head)

    async def __call__(self, method: str, path: str, body: object = b"", **headers: str) -> Request:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await Request(self.app, method, path, raw, headers=sent).run()

    async def register(self, base_url: str = "http://gpu.lan", **fields: Any) -> Any:
        """Register an endpoint, and wait until it has been probed."""
        reply = await self("POST", "/api/endpoints", {"name": "a", "base_url": base_url, **fields})
        assert reply.status == 201, reply.body
        await trio.testing.wait_all_tasks_blocked()
        return (await self("GET", f"/api/endpoints/{reply.json['id']}")).json

    def asked(self, start: bytes = b"POST /v1/chat") -> list[dict[str, str]]:
        """The headers of the requests that endpoints got, by lower-case name."""
        found = []
        for side in self.network.connections:
            for request in side.requests:
                if request.startswith(start):
                    lines = request.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
                    pairs = [line.split(": ", 1) for line in lines]
                    found.append({name.lower(): value for name, value in pairs})
                    assert len(found[-1]) == len(pairs), "a header is said twice"
        return found

    @property
    def everything_sent(self) -> bytes:
        return b"".join(r for side in self.network.connections for r in side.requests)


@pytest.fixture
async def outside(nursery: trio.Nursery, tmp_path: Path) -> AsyncIterator[Outside]:
    outside = Outside(nursery, tmp_path)
    lifespan = Lifespan(outside.app)
    await lifespan.start(nursery)
    yield outside
    await lifespan.stop()
    structlog.reset_defaults()
    nursery.cancel_scope.cancel()


# -- to an endpoint

SECRET = "client-secret-97531"

NEVER_SENT = [
    "authorization", "Authorization", "x-api-key", "api-key", "cookie", "cookie2", "x-csrf-token",
    "proxy-authorization", "proxy-authenticate", "proxy-connection", "www-authenticate",
    "forwarded-by", "x-original-url", "x-rewrite-url", "x-http-method-override", "x-client-cert",
    "te", "trailer", "upgrade", "keep-alive", "http2-settings", "expect-ct", "max-forwards",
    "referer", "user-agent", "accept-encoding", "accept-language", "range", "if-match",
    "openai-organization", "openai-project", "anthropic-version", "anthropic-beta", "x-llmlb-admin",
    "x-request-timeout", "x-amz-security-token", "metadata-flavor", "x-aws-ec2-metadata-token",
    "metadata", "x-anything-else", "baggage", "b3", "x-b3-traceid",
]  # fmt: skip


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_a_client_says_to_us_is_not_said_to_an_endpoint(
    outside: Outside, streamed: bool
) -> None:
    await outside.register()
    for name in NEVER_SENT:
        reply = await outside("POST", CHAT, chat(stream=streamed), **{name: f"Bearer {SECRET}"})
        assert reply.status == 200, name
        assert SECRET.encode() not in outside.everything_sent, name
    assert len(outside.asked()) == len(NEVER_SENT)


@pytest.mark.parametrize("name", ["forwarded", "x-forwarded-for", "x-real-ip", "via", "origin"])
async def test_where_a_client_comes_from_is_not_said_to_an_endpoint_either(
    outside: Outside, name: str
) -> None:
    """Whether or not such a request is served at all."""
    await outside.register()
    await outside("POST", CHAT, chat(), **{name: SECRET})
    assert SECRET.encode() not in outside.everything_sent


async def test_an_endpoint_gets_its_own_key_and_no_more_than_the_allowed_headers(
    outside: Outside,
) -> None:
    await outside.register(api_key=KEY, extra_headers={"X-Tenant": TENANT})
    reply = await outside(
        "POST",
        CHAT,
        chat(),
        authorization=f"Bearer {SECRET}",
        x_tenant=SECRET,
        accept="application/json",
        traceparent="00-1-2-01",
        tracestate="a=1",
        x_request_id="req-7",
    )
    assert reply.status == 200
    (got,) = outside.asked()
    length = got.pop("content-length")
    assert int(length) >= len(chat())
    assert got.pop("user-agent").startswith("llmlb/")
    assert got == {
        "host": "gpu.lan",
        "accept": "application/json",
        "accept-encoding": "identity",
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
        "traceparent": "00-1-2-01",
        "tracestate": "a=1",
        "x-llmlb-instance": "us",
        "x-request-id": "req-7",
        "x-tenant": TENANT,
    }


@pytest.mark.parametrize(
    "spelled", ["traceparent", "TraceParent, Accept", "close, accept ,tracestate"]
)
async def test_what_connection_names_was_meant_for_us_alone(outside: Outside, spelled: str) -> None:
    await outside.register()
    said = {"accept": SECRET, "traceparent": SECRET, "tracestate": SECRET}
    await outside("POST", CHAT, chat(), connection=spelled, **said)
    (got,) = outside.asked()
    named = {name.strip().lower() for name in spelled.split(",")}
    assert {name for name in said if name in got} == said.keys() - named
    assert "connection" not in got
    assert got["content-type"] == "application/json"


async def test_naming_it_in_connection_does_not_hide_a_loop(outside: Outside) -> None:
    await outside.register()
    passed = {"connection": "x-llmlb-instance", "x_llmlb_instance": "another"}
    await outside("POST", CHAT, chat(), **passed)
    (got,) = outside.asked()
    assert got["x-llmlb-instance"] == "another, us"


@pytest.mark.parametrize("value", ["a\x00b", "a\x0bb", "a\x7fb", "a\x1fb", "é", "  "])
async def test_a_header_that_http_cannot_carry_is_not_carried(outside: Outside, value: str) -> None:
    """Line breaks are refused before: there is no request that holds one."""
    await outside.register()
    for name in ("accept", "traceparent", "x-request-id", "x-llmlb-instance"):
        await outside("POST", CHAT, chat(), **{name: value})
    for got in outside.asked():
        assert not any(control in said for said in got.values() for control in "\x00\x0b\x7f\x1f")


# -- to a client

NEVER_SHOWN = [
    b"set-cookie: session=evil; Path=/", b"set-cookie2: a=b", b"server: uvicorn/0.30",
    b"x-powered-by: Express", b"via: 1.1 rack", b"www-authenticate: Basic realm=x",
    b"proxy-authenticate: Basic", b"access-control-allow-origin: *",
    b"access-control-allow-credentials: true", b"access-control-allow-headers: *",
    b"access-control-expose-headers: *", b"cross-origin-resource-policy: cross-origin",
    b"cross-origin-opener-policy: unsafe-none", b"content-security-policy: default-src *",
    b"content-security-policy-report-only: default-src *", b"x-frame-options: ALLOWALL",
    b"x-content-type-options: off", b"referrer-policy: unsafe-url", b"permissions-policy: x",
    b"strict-transport-security: max-age=0", b"clear-site-data: \"*\"", b"refresh: 0;url=//evil",
    b"location: http://evil.example/", b"content-location: /x", b"link: <//evil>; rel=preload",
    b"alt-svc: h3=\":443\"", b"service-worker-allowed: /", b"sourcemap: /x", b"nel: {}",
    b"report-to: {}", b"content-disposition: attachment; filename=x.html", b"etag: \"x\"",
    b"cache-control: public, max-age=99999", b"expires: 0", b"age: 1", b"vary: *",
    b"x-request-id: forged", b"x-llmlb-endpoint: forged", b"x-llmlb-model: forged",
    b"x-llmlb-attempts: 99", b"x-should-retry: true", b"x-llmlb-notes: forged",
    b"openai-organization: theirs", b"openai-processing-ms: 7", b"upgrade: h2c",
    b"authorization: Bearer " + KEY.encode(), b"x-api-key: " + KEY.encode(),
    b"x-ratelimit-key: " + KEY.encode(), b"x-ratelimit-limit: 5;key=" + KEY.encode(),
    b"x-ratelimit-tenant: " + TENANT.encode(), b"retry-after: " + KEY.encode(),
]  # fmt: skip


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_an_endpoint_says_to_us_is_not_said_to_a_client(
    outside: Outside, streamed: bool
) -> None:
    await outside.register(api_key=KEY, extra_headers={"X-Tenant": TENANT})
    plain = (await outside("POST", CHAT, chat(stream=streamed))).headers
    for line in NEVER_SHOWN:
        outside.head = [line]
        reply = await outside("POST", CHAT, chat(stream=streamed))
        assert reply.status == 200, line
        different = dict(reply.headers.items() ^ plain.items())
        assert different.keys() <= {"x-request-id"}, line


async def test_what_helps_a_client_is_passed_on(outside: Outside) -> None:
    await outside.register(api_key=KEY)
    outside.head = [b"x-ratelimit-remaining-requests: 12", b"retry-after: 3"]
    reply = await outside("POST", CHAT, chat())
    assert reply.headers["x-ratelimit-remaining-requests"] == "12"
    assert reply.headers["retry-after"] == "3"


# -- where they go


async def test_a_name_that_leads_to_metadata_is_registered_but_never_reached(
    outside: Outside,
) -> None:
    outside.addresses["metadata.internal"] = ["169.254.169.254", "fd00:ec2::254"]
    shown = await outside.register("http://metadata.internal")
    assert shown["status"] == "offline"
    assert shown["last_error"] == (
        "llmlb does not connect to metadata.internal (169.254.169.254): that is a link-local "
        "address, where clouds keep their metadata."
    )
    tested = await outside("POST", f"/api/endpoints/{shown['id']}/test")
    assert tested.json == {"success": False, "error": shown["last_error"]}
    assert outside.network.asked == []


async def test_a_verified_registration_refuses_such_a_name(outside: Outside) -> None:
    outside.addresses["metadata.internal"] = ["::ffff:169.254.169.254"]
    reply = await Request(
        outside.app,
        "POST",
        "/api/endpoints",
        json.dumps({"name": "a", "base_url": "http://metadata.internal"}).encode(),
        headers={"content-type": "application/json"},
        query_string=b"verify=true",
    ).run()
    assert (reply.status, reply.error["param"]) == (502, "base_url")
    assert "that is a link-local address" in reply.error["message"]
    assert (await outside("GET", "/api/endpoints")).json["total"] == 0


async def test_a_name_that_is_bent_to_metadata_later_is_not_followed(outside: Outside) -> None:
    shown = await outside.register("http://gpu.lan")
    outside.addresses["gpu.lan"] = ["169.254.169.254"]
    await outside.client.forget(EndpointId(shown["id"]))  # what stands idle is good, for 4 s
    before = len(outside.network.asked)
    reply = await outside("POST", CHAT, chat())
    assert (reply.status, reply.error["code"]) == (502, "upstream_unreachable")
    assert len(outside.network.asked) == before
    assert {host for host, _ in outside.network.asked} == {"10.0.0.1"}


@pytest.mark.parametrize("address", ["127.0.0.1", "192.168.1.5", "::ffff:192.168.1.5"])
async def test_a_name_that_leads_to_ourselves_is_not_connected_to(
    outside: Outside, address: str
) -> None:
    outside.addresses["me.lan"] = [address]
    shown = await outside.register("http://me.lan:32768")
    assert shown["status"] == "offline"
    assert shown["last_error"].endswith(f"({address}): that is where llmlb itself listens.")
    assert outside.network.asked == []


ELSEWHERE = b"location: http://169.254.169.254/latest/meta-data/"


@pytest.mark.parametrize(
    "status", [b"301 Moved", b"302 Found", b"303 See Other", b"307 T", b"308 P"]
)
async def test_no_redirect_is_followed_by_probe_survey_or_request(
    outside: Outside, status: bytes
) -> None:
    shown = await outside.register()
    assert shown["status"] == "online"
    outside.head, outside.status = [ELSEWHERE], status
    reply = await outside("POST", CHAT, chat())
    assert reply.status == 502
    assert "location" not in reply.headers
    assert b"169.254" not in reply.body
    outside.models_status = status
    synced = await outside("POST", f"/api/endpoints/{shown['id']}/sync")
    assert synced.status == 502
    tested = await outside("POST", f"/api/endpoints/{shown['id']}/test")
    assert tested.json["success"] is False
    assert {host for host, _ in outside.network.asked} == {"10.0.0.1"}
    assert b"meta-data" not in outside.everything_sent
