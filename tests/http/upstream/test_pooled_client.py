"""PooledUpstreamClient against endpoints in memory: what is sent, read, reused, closed, retried."""

from __future__ import annotations

import contextlib
import gc
import random
import socket
import weakref
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from llmlb import __version__
from llmlb.http.upstream.client import UpstreamClient
from llmlb.http.upstream.faults import AddressRefused, FaultKind, UpstreamFault
from llmlb.http.upstream.pooled_client import PooledUpstreamClient
from llmlb.types import Endpoint
from tests.fakes.network import MemoryNetwork, Serve, ServerSide
from tests.fakes.upstream import make_endpoint

A = make_endpoint("http://a.test:1")


async def echo_length(side: ServerSide) -> None:
    while await side.request():
        await side.reply(b"[]")


class Net:
    """A client on a network in memory."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.network = MemoryNetwork(nursery, echo_length)
        self.client = PooledUpstreamClient(
            instance_id="lb-1", connect_timeout_s=5, network=self.network
        )

    @property
    def sides(self) -> list[ServerSide]:
        return self.network.connections

    def serve(self, *pieces: bytes | float) -> None:
        """Answer the first request of every connection with these bytes, then hang up."""

        async def serve(side: ServerSide) -> None:
            await side.request()
            for piece in pieces:
                if isinstance(piece, bytes):
                    await side.send(piece)
                else:
                    await trio.sleep(piece)
            await side.hang_up()

        self.network.serve = serve

    async def read(self, path: str = "/v1/models", endpoint: Endpoint = A, **how: Any) -> bytes:
        async with self.client.call(endpoint, "GET", path, **how) as response:
            return b"".join([chunk async for chunk in response.chunks()])

    async def fault(self, endpoint: Endpoint = A, **how: Any) -> UpstreamFault:
        with pytest.raises(UpstreamFault) as caught:
            await self.read(endpoint=endpoint, **how)
        fault = caught.value
        assert fault.__cause__ is None
        assert fault.__suppress_context__ or fault.__context__ is None
        return fault


@pytest.fixture
async def net(nursery: trio.Nursery) -> AsyncIterator[Net]:
    net = Net(nursery)
    yield net
    await net.client.aclose()
    gc.collect()  # a generator left half way would complain here
    await trio.testing.wait_all_tasks_blocked()
    nursery.cancel_scope.cancel()


def lines(request: bytes) -> list[bytes]:
    return sorted(line.lower() for line in request.split(b"\r\n\r\n")[0].split(b"\r\n")[1:])


def the_client_keeps_the_interface(client: PooledUpstreamClient) -> UpstreamClient:
    return client


async def test_a_request_carries_our_headers_and_nothing_else(net: Net) -> None:
    await net.read()
    assert lines(net.sides[0].requests[0]) == [
        b"accept-encoding: identity",
        b"host: a.test:1",
        b"user-agent: llmlb/" + __version__.encode(),
        b"x-llmlb-instance: lb-1",
    ]


async def test_the_body_goes_out_whole_with_its_length(net: Net) -> None:
    body = b'{"a": 1}'
    async with net.client.call(A, "POST", "/v1/x?y=1", headers=[("Content-Type", "j")], body=body):
        pass
    request = net.sides[0].requests[0]
    assert request.startswith(b"POST /v1/x?y=1 HTTP/1.1\r\n")
    assert request.endswith(b"\r\n\r\n" + body)
    assert {b"content-length: 8", b"content-type: j"} <= set(lines(request))


async def test_the_key_and_the_extra_headers_of_the_endpoint_are_sent(net: Net) -> None:
    endpoint = make_endpoint("http://a.test:1", api_key="sk-1 ", extra_headers=(("X-Org", "7"),))
    await net.read(endpoint=endpoint)
    assert {b"authorization: bearer sk-1", b"x-org: 7"} <= set(lines(net.sides[0].requests[0]))


async def test_extra_headers_win_over_ours_but_for_framing_and_what_we_depend_on(net: Net) -> None:
    endpoint = make_endpoint(
        "http://a.test:1",
        api_key="sk-1",
        extra_headers=(
            ("Authorization", "Basic eDp5"),
            ("User-Agent", "mine"),
            ("X-Passed", "operator"),
            ("Host", "evil"),
            ("Content-Length", "999"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "close"),
            ("Accept-Encoding", "gzip"),
            ("X-LLMLB-Instance", "forged"),
        ),
    )
    await net.read(endpoint=endpoint, headers=[("x-passed", "client")])
    assert lines(net.sides[0].requests[0]) == [
        b"accept-encoding: identity",
        b"authorization: basic edp5",
        b"host: a.test:1",
        b"user-agent: mine",
        b"x-llmlb-instance: lb-1",
        b"x-passed: operator",
    ]


async def test_a_callers_credentials_and_framing_are_dropped(net: Net) -> None:
    headers = [("Authorization", "Bearer client"), ("Cookie", "a=b"), ("TE", "x"), ("Host", "h")]
    await net.read(headers=headers)
    request = net.sides[0].requests[0].lower()
    assert b"client" not in request
    assert b"cookie" not in request
    assert b"\r\nte:" not in request
    assert request.count(b"host:") == 1


async def test_the_chain_of_instances_grows(net: Net) -> None:
    await net.read(headers=[("X-LLMLB-Instance", "lb-8, lb-9")])
    assert b"x-llmlb-instance: lb-8, lb-9, lb-1" in lines(net.sides[0].requests[0])


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"api_key": "sk-sécret\n"}, "API key"),
        ({"api_key": "sk-☃"}, "API key"),
        ({"extra_headers": (("x-a", "s☃cret"),)}, "'x-a'"),
        ({"extra_headers": (("bad name", "secret"),)}, "'bad name'"),
        ({"extra_headers": (("x-a", "s\r\nx-b: 1"),)}, "'x-a'"),
    ],
)
async def test_a_header_that_http_cannot_carry_is_named_without_its_value(
    net: Net, fields: dict[str, object], named: str
) -> None:
    fault = await net.fault(make_endpoint("http://a.test:1", **fields))
    assert fault.kind is FaultKind.UNREACHABLE
    assert named in str(fault)
    assert "cret" not in str(fault)
    assert net.sides == []


async def test_the_head_is_read_by_lower_case_names_and_repeated_ones_are_joined(net: Net) -> None:
    net.serve(
        b"HTTP/1.1 429 Slow\r\nRetry-After: 3\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 0\r\n\r\n"
    )
    async with net.client.call(A, "GET", "/") as response:
        assert response.status == 429
        assert dict(response.headers) == {
            "retry-after": "3",
            "x-a": "1, 2",
            "content-length": "0",
        }


async def test_chunks_arrive_as_they_are_sent_and_undecoded(
    net: Net, autojump_clock: MockClock
) -> None:
    net.serve(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"3\r\n\x1f\x8b\x00\r\n",
        2.0,
        b"2\r\nno\r\n0\r\n\r\n",
    )
    started = trio.current_time()
    async with net.client.call(A, "GET", "/") as response:
        seen = [(chunk, trio.current_time() - started) async for chunk in response.chunks()]
    assert seen == [(b"\x1f\x8b\x00", 0.0), (b"no", 2.0)]


async def test_a_redirect_is_an_answer_and_a_cookie_is_not_kept(net: Net) -> None:
    async def redirecting(side: ServerSide) -> None:
        while await side.request():
            await side.reply(b"", b"302 Found", b"location: /other", b"set-cookie: a=b")

    net.network.serve = redirecting
    for _ in range(2):
        async with net.client.call(A, "GET", "/") as response:
            assert response.status == 302
    assert all(b"cookie" not in r.lower() for side in net.sides for r in side.requests)


async def test_a_password_in_the_url_does_not_become_a_header(net: Net) -> None:
    await net.read(endpoint=make_endpoint("http://user:pass@a.test:1"))
    assert b"authorization" not in net.sides[0].requests[0].lower()


# --- connections ----------------------------------------------------------------------------


async def test_a_connection_is_reused_after_its_body_was_read_to_the_end(net: Net) -> None:
    for _ in range(3):
        assert await net.read() == b"[]"
    assert [len(side.requests) for side in net.sides] == [3]


async def test_an_unread_body_closes_the_connection_instead_of_being_drained(net: Net) -> None:
    async with net.client.call(A, "GET", "/"):
        pass
    await trio.testing.wait_all_tasks_blocked()
    assert net.sides[0].closed_at is not None
    await net.read()
    assert len(net.sides) == 2


async def test_leaving_a_stream_half_way_closes_the_connection_at_once(
    net: Net, autojump_clock: MockClock
) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    many = b"1\r\nx\r\n" * 1000

    async def endless(side: ServerSide) -> None:
        await side.request()
        await side.send(head + many + b"0\r\n\r\n")
        await side.request()

    net.network.serve = endless
    async with net.client.call(A, "GET", "/") as response:
        async for chunk in response.chunks():
            assert chunk == b"x" * 1000
            break
        left_at = trio.current_time()
    await trio.testing.wait_all_tasks_blocked()
    assert net.sides[0].closed_at == left_at
    # All of the body was buffered, the end too, and still the connection is not used again.
    net.network.serve = echo_length
    assert await net.read() == b"[]"
    assert len(net.sides) == 2


async def test_leaving_a_stream_that_goes_on_closes_the_connection_at_once(
    net: Net, autojump_clock: MockClock
) -> None:
    async def endless(side: ServerSide) -> None:
        await side.request()
        await side.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await side.request()

    net.network.serve = endless
    async with net.client.call(A, "GET", "/") as response:
        assert await anext(aiter(response.chunks())) == b"hello"
        left_at = trio.current_time()
    await trio.testing.wait_all_tasks_blocked()
    assert net.sides[0].closed_at == left_at


class Long:
    """A payload of two pieces."""

    size_bytes = 6

    async def chunks(self) -> AsyncGenerator[bytes]:
        yield b"abc"
        yield b"def"


@pytest.mark.parametrize("to_the_end", [True, False])
async def test_a_call_that_has_ended_holds_nothing_of_its_body(net: Net, to_the_end: bool) -> None:
    """Also without the collector: it may come by many MiB later."""
    body = Long()
    kept = weakref.ref(body)
    gc.collect()
    gc.disable()
    try:
        async with net.client.call(A, "POST", "/x", body=body) as response:
            if to_the_end:
                assert [chunk async for chunk in response.chunks()] == [b"[]"]
        del response, body
        assert kept() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("when_s", [1.0, 3.0])
async def test_a_cancelled_call_closes_its_connection_at_once(
    net: Net, autojump_clock: MockClock, when_s: float
) -> None:
    async def slow(side: ServerSide) -> None:
        await side.request()
        await trio.sleep(2)
        await side.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await side.request()

    net.network.serve = slow
    started = trio.current_time()
    with trio.move_on_after(when_s):
        await net.read()
    await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() == started + when_s
    assert net.sides[0].closed_at is not None
    assert net.sides[0].closed_at - started == pytest.approx(when_s)


async def test_a_call_cancelled_while_connecting_leaves_nothing_behind(
    net: Net, autojump_clock: MockClock
) -> None:
    net.network.connect_delay_s = 3
    with trio.move_on_after(1):
        await net.read()
    net.network.connect_delay_s = 0
    assert await net.read() == b"[]"
    assert len(net.sides) == 1


@pytest.mark.parametrize("seed", range(20))
async def test_calls_cancelled_at_any_moment_leave_no_connection_open(
    net: Net, autojump_clock: MockClock, seed: int
) -> None:
    chance = random.Random(seed)

    async def serve(side: ServerSide) -> None:
        while await side.request():
            await trio.sleep(chance.choice([0, 0.1, 1]))
            await side.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
            await trio.sleep(chance.choice([0, 0.1, 1]))
            await side.send(b"cd")
            if chance.random() < 0.2:
                await side.hang_up()
                return

    async def visit() -> None:
        await trio.sleep(chance.choice([0, 0, 0.5, 2]))
        with trio.move_on_after(chance.choice([0, 0.05, 0.1, 0.15, 1.1, 5])):
            for _ in range(chance.choice([0, 1, 2])):
                await trio.lowlevel.checkpoint()
            with contextlib.suppress(UpstreamFault):
                assert await net.read() == b"abcd"

    net.network.serve = serve
    net.network.connect_delay_s = chance.choice([0, 0.1])
    async with trio.open_nursery() as visitors:
        for _ in range(50):
            visitors.start_soon(visit)
    assert repr(net.client) == "<PooledUpstreamClient: 1 endpoints, 0 calls>"
    await net.client.forget(A.id)
    await trio.sleep(3)  # a server that sleeps hears of it when it sends
    assert [side for side in net.sides if side.closed_at is None and not side.hung_up] == []
    assert repr(net.client) == "<PooledUpstreamClient: 0 endpoints, 0 calls>"


async def test_calls_at_the_same_time_have_a_connection_each(
    net: Net, autojump_clock: MockClock
) -> None:
    async def slow(side: ServerSide) -> None:
        while await side.request():
            await trio.sleep(1)
            await side.reply()

    net.network.serve = slow
    for _round in range(2):
        async with trio.open_nursery() as readers:
            for _ in range(60):
                readers.start_soon(net.read)
    assert len(net.sides) == 60


# --- stale connections ----------------------------------------------------------------------


def drops_when_idle(*after: bytes) -> Serve:
    async def serve(side: ServerSide) -> None:
        await side.request()
        await side.reply(b"[]")
        await side.request()
        if after:
            await side.send(*after)
        await side.hang_up()

    return serve


async def test_a_request_that_breaks_on_an_idle_connection_is_sent_again_on_a_new_one(
    net: Net,
) -> None:
    net.network.serve = drops_when_idle()
    await net.read()
    async with net.client.call(A, "POST", "/v1/x", body=b"{}") as response:
        assert [c async for c in response.chunks()] == [b"[]"]
    assert [len(side.requests) for side in net.sides] == [2, 1]
    assert net.sides[1].requests[0].endswith(b"{}")


async def test_the_brothers_of_a_stale_connection_are_not_tried(
    net: Net, autojump_clock: MockClock
) -> None:
    async def once(side: ServerSide) -> None:
        await side.request()
        await trio.sleep(1)
        await side.reply(b"[]")
        await side.hang_up()

    net.network.serve = once
    async with trio.open_nursery() as readers:
        for _ in range(3):
            readers.start_soon(net.read)
    net.network.serve = echo_length
    assert await net.read() == b"[]"
    assert len(net.sides) == 4


async def test_a_request_on_a_new_connection_is_not_sent_again(net: Net) -> None:
    net.serve()
    fault = await net.fault()
    assert fault.kind is FaultKind.DISCONNECTED
    assert str(fault) == "The connection broke before an answer came."
    assert len(net.sides) == 1


async def test_a_request_is_sent_again_only_once(net: Net) -> None:
    net.network.serve = drops_when_idle()
    await net.read()
    net.serve()
    assert (await net.fault()).kind is FaultKind.DISCONNECTED
    assert len(net.sides) == 2


async def test_a_request_is_not_sent_again_after_one_byte_of_an_answer(net: Net) -> None:
    net.network.serve = drops_when_idle(b"HTTP/1.1 2")
    await net.read()
    assert (await net.fault()).kind is FaultKind.DISCONNECTED
    assert len(net.sides) == 1


async def test_what_was_being_worked_on_for_long_is_not_sent_again(
    net: Net, autojump_clock: MockClock
) -> None:
    async def crash(side: ServerSide) -> None:
        await side.request()
        await side.reply(b"[]")
        await side.request()
        await trio.sleep(6)
        await side.hang_up()

    net.network.serve = crash
    await net.read()
    assert (await net.fault()).kind is FaultKind.DISCONNECTED
    assert len(net.sides) == 1


async def test_a_second_try_that_is_refused_still_says_that_the_first_was_sent(net: Net) -> None:
    net.network.serve = drops_when_idle()
    await net.read()
    net.network.refuse = ConnectionRefusedError(111, "refused")
    fault = await net.fault()
    assert fault.kind is FaultKind.DISCONNECTED
    assert str(fault) == "The connection broke, and on a new try: connection refused."


async def test_a_second_try_that_leads_elsewhere_still_says_that_the_first_was_sent(
    net: Net,
) -> None:
    net.network.serve = drops_when_idle()
    await net.read()
    net.network.refuse = AddressRefused("llmlb does not connect to a.test: that is x.")
    fault = await net.fault()
    assert (fault.kind, type(fault)) == (FaultKind.DISCONNECTED, UpstreamFault)
    assert str(fault) == "llmlb does not connect to a.test: that is x."


# --- faults ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionRefusedError(111, "x"), "Connection refused."),
        (socket.gaierror(-2, "x"), "The host name could not be resolved."),
        (OSError(113, "x"), "No route to host."),
        (OSError("all attempts failed"), "No connection."),
        (UnicodeError("x"), "The host name could not be resolved."),
    ],
)
async def test_no_connection_is_told_by_its_reason(
    net: Net, error: BaseException, reason: str
) -> None:
    net.network.refuse = error
    fault = await net.fault()
    assert (fault.kind, str(fault)) == (FaultKind.UNREACHABLE, reason)


async def test_connecting_is_bounded_in_time(net: Net, autojump_clock: MockClock) -> None:
    net.network.connect_delay_s = 60
    started = trio.current_time()
    fault = await net.fault()
    assert (fault.kind, str(fault)) == (FaultKind.UNREACHABLE, "No connection within 5 s.")
    assert trio.current_time() - started == 5


@pytest.mark.parametrize("url", ["http://[::1", "ftp://a.test", "http://"])
async def test_a_url_that_cannot_be_called_is_unreachable(net: Net, url: str) -> None:
    fault = await net.fault(make_endpoint(url))
    assert (fault.kind, str(fault)) == (FaultKind.UNREACHABLE, "The endpoint's URL is not valid.")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"HTTP/1.1 200 O", FaultKind.DISCONNECTED),
        (b"SSH-2.0-OpenSSH\r\n\r\n", FaultKind.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", FaultKind.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\nx: " + b"x" * 200_000, FaultKind.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", FaultKind.DISCONNECTED),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", FaultKind.DISCONNECTED),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", FaultKind.BAD_ANSWER),
    ],
)
async def test_an_answer_that_is_no_http_or_not_whole_is_a_fault(
    net: Net, answer: bytes, kind: FaultKind
) -> None:
    async def serve(side: ServerSide) -> None:
        await side.request()
        await side.send(answer)
        if kind is FaultKind.DISCONNECTED:
            await side.hang_up()
        else:
            await side.request()

    net.network.serve = serve
    assert (await net.fault()).kind is kind


async def test_a_body_that_ends_with_the_connection_is_whole(net: Net) -> None:
    net.serve(b"HTTP/1.1 200 OK\r\n\r\nall of it")
    assert await net.read() == b"all of it"


async def test_an_error_of_the_reader_passes_through_and_closes_the_call(net: Net) -> None:
    with pytest.raises(ZeroDivisionError):
        async with net.client.call(A, "GET", "/"):
            raise ZeroDivisionError
    await trio.testing.wait_all_tasks_blocked()
    assert net.sides[0].closed_at is not None


# --- endpoints that go or change ------------------------------------------------------------


async def test_a_forgotten_endpoint_loses_its_idle_connections_but_not_its_streams(
    net: Net,
    autojump_clock: MockClock,
) -> None:
    async def slow(side: ServerSide) -> None:
        while await side.request():
            await side.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na")
            await trio.sleep(1)
            await side.send(b"b")

    net.network.serve = slow
    async with trio.open_nursery() as readers:
        readers.start_soon(net.read)
        readers.start_soon(net.read)
    async with net.client.call(A, "GET", "/") as response:
        body = aiter(response.chunks())
        assert await anext(body) == b"a"
        await net.client.forget(A.id)
        await net.client.forget(A.id)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(side.closed_at is None for side in net.sides) == [False, True]
        assert [chunk async for chunk in body] == [b"b"]
    await trio.testing.wait_all_tasks_blocked()
    assert all(side.closed_at is not None for side in net.sides)


async def test_a_changed_url_is_called_at_once_and_the_old_connections_close(net: Net) -> None:
    await net.read()
    moved = make_endpoint("http://b.test:2", id=A.id)
    await net.read(endpoint=moved)
    await trio.testing.wait_all_tasks_blocked()
    assert net.network.asked == [("a.test", 1), ("b.test", 2)]
    assert net.sides[0].closed_at is not None
    assert net.sides[1].closed_at is None
    assert repr(net.client) == "<PooledUpstreamClient: 1 endpoints, 0 calls>"


async def test_closing_the_client_ends_calls_that_are_being_read(
    net: Net, autojump_clock: MockClock
) -> None:
    net.serve(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", 60.0)

    async def read() -> None:
        assert str(await net.fault()) == "The answer was cut short."

    async with trio.open_nursery() as readers:
        readers.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await net.client.aclose()
    assert str(await net.fault()) == "llmlb is shutting down."
