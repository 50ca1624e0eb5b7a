"""HttpxUpstreamClient over loopback sockets: what only the real network can say."""

from __future__ import annotations

import ssl
from functools import partial

import pytest
import trio
import trustme

from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.http.upstream.httpx_client import HttpxUpstreamClient
from tests.fakes.network import ServerSide
from tests.fakes.upstream import make_endpoint


async def listen(nursery: trio.Nursery, sides: list[ServerSide], tls: ssl.SSLContext | None) -> int:
    async def serve(stream: trio.abc.Stream) -> None:
        side = ServerSide(stream)
        sides.append(side)
        try:
            while await side.request():
                await side.reply(b"[]")
        except (trio.BrokenResourceError, ssl.SSLError):
            return
        finally:
            with trio.move_on_after(1, shield=True):
                await trio.aclose_forcefully(stream)

    if tls is None:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
    else:
        listeners = await nursery.start(
            partial(trio.serve_ssl_over_tcp, serve, 0, tls, host="127.0.0.1")
        )
    port: int = (
        listeners[0].socket.getsockname()[1]
        if tls is None
        else (listeners[0].transport_listener.socket.getsockname()[1])
    )
    return port


async def outcome(client: HttpxUpstreamClient, base_url: str) -> tuple[FaultKind | int, str]:
    try:
        async with client.call(make_endpoint(base_url), "GET", "/") as response:
            body = b"".join([chunk async for chunk in response.chunks()])
            return response.status, body.decode()
    except UpstreamFault as fault:
        return fault.kind, str(fault)


def new_client(trusted: ssl.SSLContext | None = None) -> HttpxUpstreamClient:
    return HttpxUpstreamClient(instance_id="lb", connect_timeout_s=5, ssl_context=trusted)


async def test_a_server_is_asked_twice_on_one_connection(nursery: trio.Nursery) -> None:
    sides: list[ServerSide] = []
    port = await listen(nursery, sides, None)
    client = new_client()
    for _ in range(2):
        assert await outcome(client, f"http://127.0.0.1:{port}") == (200, "[]")
    assert len(sides) == 1
    await client.aclose()
    nursery.cancel_scope.cancel()


async def test_a_closed_port_refuses() -> None:
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        client = new_client()
        assert await outcome(client, f"http://127.0.0.1:{port}") == (
            FaultKind.UNREACHABLE,
            "Connection refused.",
        )
        await client.aclose()


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", f"http://{'x' * 64}.test"])
async def test_an_impossible_address_is_unreachable(url: str) -> None:
    client = new_client()
    kind, _reason = await outcome(client, url)
    assert kind is FaultKind.UNREACHABLE
    await client.aclose()


async def test_certificates_are_verified(nursery: trio.Nursery) -> None:
    authority = trustme.CA()
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    sides: list[ServerSide] = []
    url = f"https://127.0.0.1:{await listen(nursery, sides, ours)}"

    stranger = new_client()
    kind, reason = await outcome(stranger, url)
    assert kind is FaultKind.UNREACHABLE
    assert reason.startswith("The TLS certificate is not accepted: ")
    await stranger.aclose()

    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    friend = new_client(trusting)
    for _ in range(2):
        assert await outcome(friend, url) == (200, "[]")
    assert len(sides[-1].requests) == 2
    await friend.aclose()
    nursery.cancel_scope.cancel()


async def test_https_to_a_server_without_it_fails_in_the_handshake(nursery: trio.Nursery) -> None:
    async def plain(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.aclose()

    listeners = await nursery.start(partial(trio.serve_tcp, plain, 0, host="127.0.0.1"))
    client = new_client()
    url = f"https://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    assert await outcome(client, url) == (
        FaultKind.UNREACHABLE,
        "The TLS handshake failed (does it speak HTTPS?).",
    )
    await client.aclose()
    nursery.cancel_scope.cancel()
