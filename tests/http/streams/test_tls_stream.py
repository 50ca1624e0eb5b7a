"""A ByteStream over TLS: what passes, what is heard of an end, and who is believed."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
import trio
import trio.testing
import trustme
from trio.testing import MockClock, wait_all_tasks_blocked

from llmlb.http.streams.byte_stream import ByteStream, StreamBroken
from llmlb.http.streams.tls_stream import CLOSE_WITHIN_S, TlsStream, _Below, tls_over
from tests.fakes.byte_stream import MemoryByteStream

AUTHORITY = trustme.CA()


def the_stream_keeps_the_interface(stream: TlsStream) -> ByteStream:
    return stream


def memory_pair(nursery: trio.Nursery) -> tuple[MemoryByteStream, MemoryByteStream]:
    one, other = trio.testing.memory_stream_pair()
    return MemoryByteStream(one, nursery), MemoryByteStream(other, nursery)


def server_over(stream: MemoryByteStream) -> trio.SSLStream[_Below]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("a.test").configure_cert(context)
    return trio.SSLStream(_Below(stream), context, server_side=True, https_compatible=True)


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


class Ends(NamedTuple):
    ours: TlsStream
    below: MemoryByteStream
    server: trio.SSLStream[_Below]
    below_server: MemoryByteStream


@pytest.fixture
async def ends(nursery: trio.Nursery) -> AsyncIterator[Ends]:
    below, below_server = memory_pair(nursery)
    server = server_over(below_server)
    async with trio.open_nursery() as meanwhile:
        meanwhile.start_soon(server.do_handshake)
        ours = await tls_over(below, trusting(), "a.test")
    await server.send_all(b"hello")  # and the tickets that come before it
    assert await ours.receive_some() == b"hello"
    yield Ends(ours, below, server, below_server)
    ours.close()


async def test_bytes_pass_both_ways(ends: Ends) -> None:
    much = b"0123456789" * 20_000
    received = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends.server.send_all, much)
        while len(received) < len(much):
            received += await ends.ours.receive_some()
    assert received == much
    await ends.ours.send_all(b"thanks")
    assert await ends.server.receive_some() == b"thanks"
    assert not ends.ours.peer_gone


async def test_what_came_along_with_an_answer_is_not_overlooked(ends: Ends) -> None:
    """The socket has been emptied, and knows nothing of it."""
    await ends.server.send_all(b"answer")
    await ends.server.send_all(b"poison")
    await wait_all_tasks_blocked()
    assert await ends.ours.receive_some() == b"answer"
    assert not ends.below.peer_gone
    assert ends.ours.peer_gone
    assert await ends.ours.receive_some() == b"poison"
    assert not ends.ours.peer_gone


@pytest.mark.parametrize("politely", [True, False])
async def test_an_end_is_an_end(ends: Ends, politely: bool) -> None:
    told: list[bool] = []
    ends.ours.on_peer_gone(lambda: told.append(True))
    await (ends.server.aclose() if politely else ends.below_server.aclose())
    await wait_all_tasks_blocked()
    assert told == [True]
    assert ends.ours.peer_gone
    assert await ends.ours.receive_some() == b""
    with pytest.raises(StreamBroken):
        await ends.ours.send_all(b"x")


async def test_closing_breaks_off_whoever_waits(ends: Ends) -> None:
    async def read() -> None:
        with pytest.raises(StreamBroken):
            await ends.ours.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        ends.ours.close()
    await read()
    with pytest.raises(StreamBroken):
        await ends.ours.send_all(b"x")
    assert ends.ours.peer_gone


async def test_a_read_that_is_cancelled_has_taken_nothing(
    ends: Ends, autojump_clock: MockClock
) -> None:
    with trio.move_on_after(1):
        await ends.ours.receive_some()
    await ends.server.send_all(b"late")
    assert await ends.ours.receive_some() == b"late"


async def test_closing_in_good_order_is_bounded_in_time(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    below, below_server = memory_pair(nursery)
    server = server_over(below_server)
    async with trio.open_nursery() as meanwhile:
        meanwhile.start_soon(server.do_handshake)
        ours = await tls_over(below, trusting(), "a.test")
    await ours.aclose()
    assert trio.current_time() <= CLOSE_WITHIN_S
    assert await server.receive_some() == b""
    await ours.aclose()


@pytest.mark.parametrize("host", ["a.test", "b.test"])
async def test_whoever_is_not_believed_is_not_spoken_to(nursery: trio.Nursery, host: str) -> None:
    below, below_server = memory_pair(nursery)
    server = server_over(below_server)

    async def serve() -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            await server.do_handshake()
            await server.receive_some()
            await server.send_all(b"x")

    context = ssl.create_default_context() if host == "a.test" else trusting()
    async with trio.open_nursery() as meanwhile:
        meanwhile.start_soon(serve)
        with pytest.raises(ssl.SSLCertVerificationError):
            await tls_over(below, context, host)
    assert below.peer_gone


async def test_a_handshake_that_breaks_or_is_cancelled_closes_what_is_below(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    below, below_server = memory_pair(nursery)
    with trio.move_on_after(3):
        await tls_over(below, trusting(), "a.test")
    assert trio.current_time() == 3
    await wait_all_tasks_blocked()
    assert below_server.peer_gone
    below, below_server = memory_pair(nursery)
    await below_server.aclose()
    with pytest.raises((StreamBroken, ssl.SSLError)):
        await tls_over(below, trusting(), "a.test")
