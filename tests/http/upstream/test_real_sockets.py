"""PooledUpstreamClient over loopback sockets: what only the real network can say."""

from __future__ import annotations

import ssl
from functools import partial
from typing import Any

import pytest
import trio
import trustme
from structlog.testing import capture_logs

from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.http.upstream.pooled_client import PooledUpstreamClient
from tests.fakes.network import ServerSide
from tests.fakes.upstream import make_endpoint

NO_CERTIFICATE = ssl.DER_cert_to_PEM_cert(b"no certificate")


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


async def outcome(
    client: PooledUpstreamClient, base_url: str, **fields: Any
) -> tuple[FaultKind | int, str]:
    try:
        async with client.call(make_endpoint(base_url, **fields), "GET", "/") as response:
            body = b"".join([chunk async for chunk in response.chunks()])
            return response.status, body.decode()
    except UpstreamFault as fault:
        return fault.kind, str(fault)


def new_client(trusted: ssl.SSLContext | None = None) -> PooledUpstreamClient:
    return PooledUpstreamClient(instance_id="lb", connect_timeout_s=5, ssl_context=trusted)


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


# --- which certificates an endpoint may have

NOT_ACCEPTED = "The TLS certificate is not accepted: "


def context_for(authority: trustme.CA, *names: str) -> tuple[ssl.SSLContext, str]:
    """What a server of these names needs, and its own certificate in PEM."""
    certificate = authority.issue_cert(*names or ("127.0.0.1",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context, certificate.cert_chain_pems[0].bytes().decode()


def pem(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


async def test_an_endpoint_may_have_an_authority_of_its_own(nursery: trio.Nursery) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    tls, own = context_for(authority)
    url = f"https://127.0.0.1:{await listen(nursery, [], tls)}"
    client = new_client()
    for trusted in (pem(authority), pem(stranger) + pem(authority), own):
        assert await outcome(client, url, ca_certificate=trusted) == (200, "[]")
    kind, reason = await outcome(client, url, ca_certificate=pem(stranger))
    assert kind is FaultKind.UNREACHABLE
    assert reason.startswith(NOT_ACCEPTED)
    await client.aclose()
    nursery.cancel_scope.cancel()


async def test_its_own_authority_stands_in_the_place_of_the_well_known_ones(
    nursery: trio.Nursery,
) -> None:
    well_known, own = trustme.CA(), trustme.CA()
    url = f"https://127.0.0.1:{await listen(nursery, [], context_for(well_known)[0])}"
    trusting = ssl.create_default_context()
    well_known.configure_trust(trusting)
    client = new_client(trusting)
    assert await outcome(client, url) == (200, "[]")
    assert (await outcome(client, url, ca_certificate=pem(own)))[1].startswith(NOT_ACCEPTED)
    await client.aclose()
    nursery.cancel_scope.cancel()


async def test_the_name_is_verified_under_its_own_authority_too(nursery: trio.Nursery) -> None:
    authority = trustme.CA()
    url = f"https://127.0.0.1:{await listen(nursery, [], context_for(authority, 'gpu.lan')[0])}"
    client = new_client()
    _, reason = await outcome(client, url, ca_certificate=pem(authority))
    assert reason.startswith(NOT_ACCEPTED)
    await client.aclose()
    nursery.cancel_scope.cancel()


async def test_unverified_anybody_is_believed_and_the_log_says_so_once(
    nursery: trio.Nursery,
) -> None:
    url = f"https://127.0.0.1:{await listen(nursery, [], context_for(trustme.CA(), 'x.lan')[0])}"
    client = new_client()
    with capture_logs() as logs:
        for _ in range(3):
            assert await outcome(client, url, name="rack", tls_verify=False) == (200, "[]")
    assert [(log["log_level"], log["endpoint"]) for log in logs] == [("warning", "rack")]
    assert "not verified" in logs[0]["event"]
    await client.aclose()
    nursery.cancel_scope.cancel()


async def test_nobody_is_warned_where_there_is_no_certificate(nursery: trio.Nursery) -> None:
    url = f"http://127.0.0.1:{await listen(nursery, [], None)}"
    client = new_client()
    with capture_logs() as logs:
        assert await outcome(client, url, tls_verify=False, ca_certificate="?") == (200, "[]")
    assert logs == []
    await client.aclose()
    nursery.cancel_scope.cancel()


async def test_a_change_of_what_is_trusted_takes_effect_at_once(nursery: trio.Nursery) -> None:
    authority = trustme.CA()
    sides: list[ServerSide] = []
    url = f"https://127.0.0.1:{await listen(nursery, sides, context_for(authority)[0])}"
    client = new_client()
    assert await outcome(client, url, tls_verify=False) == (200, "[]")
    assert (await outcome(client, url))[1].startswith(NOT_ACCEPTED)  # though one stood idle
    assert await outcome(client, url, ca_certificate=pem(authority)) == (200, "[]")
    assert await outcome(client, url, ca_certificate=pem(authority)) == (200, "[]")
    assert [len(side.requests) for side in sides if side.requests] == [1, 2]
    await client.aclose()
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("spoiled", ["junk", "é", "", NO_CERTIFICATE])
async def test_an_authority_that_was_spoiled_in_the_database_is_told(spoiled: str) -> None:
    client = new_client()
    assert await outcome(client, "https://127.0.0.1:1", ca_certificate=spoiled) == (
        FaultKind.UNREACHABLE,
        "The endpoint's ca_certificate cannot be read: give it anew.",
    )
    await client.aclose()


# --- where nothing is connected to


async def test_a_redirect_to_metadata_is_an_answer_and_is_not_fetched(
    nursery: trio.Nursery,
) -> None:
    async def redirecting(stream: trio.abc.Stream) -> None:
        side = ServerSide(stream)
        await side.request()
        await side.reply(b"", b"302 Found", b"location: http://169.254.169.254/")
        await side.hang_up()

    listeners = await nursery.start(partial(trio.serve_tcp, redirecting, 0, host="127.0.0.1"))
    client = new_client()
    url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    assert (await outcome(client, url))[0] == 302
    await client.aclose()
    nursery.cancel_scope.cancel()


async def test_a_client_is_guarded_unless_told_otherwise() -> None:
    client = new_client()
    kind, reason = await outcome(client, "http://0xa9fea9fe")
    assert kind is FaultKind.UNREACHABLE
    assert reason.startswith("llmlb does not connect to 0xa9fea9fe (169.254.169.254): that is a")
    await client.aclose()
