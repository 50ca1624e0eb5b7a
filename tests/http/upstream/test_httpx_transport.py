"""An httpx.AsyncClient on the connections of the upstream client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import trio
import trio.testing

from llmlb.http.upstream.faults import UpstreamFault
from llmlb.http.upstream.httpx_transport import EndpointTransport
from llmlb.http.upstream.pooled_client import PooledUpstreamClient
from tests.fakes.network import MemoryNetwork, ServerSide
from tests.fakes.upstream import make_endpoint

A = make_endpoint("http://a.test:1/base", api_key="sk-1")


class Net:
    def __init__(self, nursery: trio.Nursery) -> None:
        self.network = MemoryNetwork(nursery, self._echo)
        self.client = PooledUpstreamClient(
            instance_id="lb-1", connect_timeout_s=5, network=self.network
        )
        self.http = httpx.AsyncClient(
            base_url=A.base_url, transport=EndpointTransport(self.client, A), trust_env=False
        )

    async def _echo(self, side: ServerSide) -> None:
        while request := await side.request():
            await side.reply(request.partition(b"\r\n\r\n")[2], b"201 Created", b"x-a: 1")


@pytest.fixture
async def net(nursery: trio.Nursery) -> AsyncIterator[Net]:
    net = Net(nursery)
    async with net.http:
        yield net
    await net.client.aclose()
    await trio.testing.wait_all_tasks_blocked()
    nursery.cancel_scope.cancel()


async def test_it_goes_out_as_any_call_and_on_the_same_connections(net: Net) -> None:
    async with net.client.call(A, "GET", "/x") as answer:
        assert [chunk async for chunk in answer.chunks()] == []
    reply = await net.http.post("/v1/x?y=1", json={"a": 1}, headers={"authorization": "mine"})
    assert (reply.status_code, reply.headers["x-a"], reply.json()) == (201, "1", {"a": 1})
    assert (await net.http.get("/")).content == b""
    (side,) = net.network.connections
    lines = side.requests[1].lower().split(b"\r\n")
    assert lines[0] == b"post /base/v1/x?y=1 http/1.1"
    assert {b"authorization: bearer sk-1", b"accept-encoding: identity"} <= set(lines)
    assert len([line for line in lines if line.startswith((b"host:", b"content-length:"))]) == 2


async def test_a_stream_that_is_left_closes_its_connection(net: Net) -> None:
    async def endless(side: ServerSide) -> None:
        await side.request()
        await side.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await side.request()

    net.network.serve = endless
    # not half way through its body: httpx would leave a generator there, of which Trio warns
    async with net.http.stream("GET", "/x") as reply:
        assert reply.status_code == 200
    await trio.testing.wait_all_tasks_blocked()
    assert net.network.connections[0].closed_at is not None
    assert repr(net.client) == "<PooledUpstreamClient: 1 endpoints, 0 calls>"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", httpx.ReadError),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", httpx.RemoteProtocolError),
        (b"", httpx.ReadError),
        (b"SSH-2.0\r\n", httpx.RemoteProtocolError),
    ],
)
async def test_a_fault_is_the_error_that_httpx_has_for_it(
    net: Net, answer: bytes, error: type[Exception]
) -> None:
    async def serve(side: ServerSide) -> None:
        await side.request()
        await side.send(answer)
        await side.hang_up()

    net.network.serve = serve
    with pytest.raises(error) as caught:
        await net.http.get("/x")
    assert isinstance(caught.value.__cause__, UpstreamFault)
    net.network.refuse = ConnectionRefusedError(111, "x")
    with pytest.raises(httpx.ConnectError, match=r"^Connection refused\.$"):
        await net.http.get("/x")


@pytest.mark.parametrize("url", ["http://b.test:1/base/x", "https://a.test:1/base/x"])
async def test_nobody_else_is_asked(net: Net, url: str) -> None:
    for other in (url, "http://a.test:1/elsewhere", "http://a.test:1/based"):
        with pytest.raises(httpx.UnsupportedProtocol):
            await net.http.get(other)
    assert net.network.asked == []
