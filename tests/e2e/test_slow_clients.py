"""Clients that take their time, on raw sockets: `llmlb serve` waits so long, and no longer."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.e2e.fleet import Balancer, wait_for
from tests.e2e.stub import Stub
from tests.e2e.test_sockets import connect, read_until, request_bytes, resident_bytes
from tests.fakes.forms import CONTENT_TYPE, form_bytes
from tests.fakes.local_server import running
from tests.fakes.wire import answers_in

LIMIT_S = 0.4
IDLE_S = 0.8
SETTINGS = {
    "LLMLB_HEADER_TIMEOUT_S": str(LIMIT_S),
    "LLMLB_IDLE_TIMEOUT_S": str(IDLE_S),
    "LLMLB_BODY_PROGRESS_TIMEOUT_S": str(LIMIT_S),
    "LLMLB_WRITE_TIMEOUT_S": "1",
}
LATE_S = 5
"""A busy machine may take so much longer."""

HEALTH = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with running(Stub()) as stub:
        yield stub


@pytest.fixture(scope="module")
def behind(stub: Stub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancer]:
    with Balancer(tmp_path_factory.mktemp("slow"), settings=SETTINGS) as balancer:
        body = {"name": "stub", "base_url": stub.url, "max_concurrency": 1}
        balancer.ask("POST", "/api/endpoints", body)
        balancer.wait_until_online("stub")
        yield balancer


def until_closed(sock: socket.socket, trickle: bytes = b"") -> tuple[bytes, float]:
    """What comes, and when it ends, while *trickle* is sent byte by byte."""
    received, started_s = b"", time.monotonic()
    sock.settimeout(0.1)
    for at in range(200):
        try:
            if at < len(trickle):
                sock.sendall(trickle[at : at + 1])
            if not (data := sock.recv(65536)):
                break
            received += data
        except TimeoutError:
            continue
        except (BrokenPipeError, ConnectionResetError):
            break
    return received, time.monotonic() - started_s


def test_a_head_that_trickles_is_answered_408(behind: Balancer) -> None:
    with connect(behind) as client:
        received, after_s = until_closed(client, HEALTH)
    [answer] = answers_in(received)
    assert (answer.status, answer.error["code"]) == (408, "request_timeout")
    assert LIMIT_S <= after_s < LIMIT_S + LATE_S


def test_a_connection_that_says_nothing_is_closed(behind: Balancer) -> None:
    with connect(behind) as client:
        received, after_s = until_closed(client)
    assert not received
    assert LIMIT_S - 0.1 <= after_s < LIMIT_S + LATE_S


def test_an_idle_connection_is_closed_and_one_in_use_is_not(behind: Balancer) -> None:
    with connect(behind) as client:
        for _ in range(3):
            client.settimeout(5)
            client.sendall(HEALTH)
            assert read_until(client, b"}").startswith(b"HTTP/1.1 200")
            time.sleep(IDLE_S / 2)
        received, after_s = until_closed(client)
    assert not received
    assert IDLE_S / 2 - 0.2 <= after_s < IDLE_S + LATE_S


def test_the_next_head_may_not_trickle_either(behind: Balancer) -> None:
    with connect(behind) as client:
        client.sendall(HEALTH)
        assert read_until(client, b"}").startswith(b"HTTP/1.1 200")
        received, after_s = until_closed(client, HEALTH)
    [answer] = answers_in(received)
    assert answer.status == 408
    assert after_s < LIMIT_S + LATE_S


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_trickles_is_answered_408(behind: Balancer, stub: Stub, chunked: bool) -> None:
    head, trickle = CHAT % 5000, b"{" + b" " * 200
    if chunked:
        head = head.replace(b"content-length: 5000", b"transfer-encoding: chunked")
        trickle = b"1\r\n{\r\n" + b"1\r\n \r\n" * 30
    with connect(behind) as client:
        client.sendall(head)
        received, after_s = until_closed(client, trickle)
    [answer] = answers_in(received, "POST")
    assert (answer.status, answer.error["code"]) == (408, "request_timeout")
    assert answer.headers["connection"] == "close"
    assert LIMIT_S <= after_s < LIMIT_S + 2 * LATE_S + 5  # it may go on sending for 5 s


def test_many_slow_clients_are_in_nobodys_way(behind: Balancer) -> None:
    with ExitStack() as held:
        for n in range(300):
            sock = held.enter_context(connect(behind))
            sock.sendall((HEALTH, CHAT % 5000)[n % 2][:-3])
            if n % 50 == 0:
                asked_s = time.monotonic()
                assert httpx.get(f"{behind.base_url}/health", trust_env=False).is_success
                assert time.monotonic() - asked_s < 2
    body = {"model": "quick", "messages": []}
    assert behind.ask("POST", "/v1/chat/completions", body)["choices"]


def test_a_client_that_does_not_read_is_cut_off_and_its_lease_is_free(
    behind: Balancer, stub: Stub
) -> None:
    behind.ask("POST", "/v1/chat/completions", {"model": "quick", "messages": []})
    before_bytes = resident_bytes(behind.child.pid)
    with connect(behind, receive_buffer_bytes=64 * 1024) as client:
        client.sendall(request_bytes("flood"))
        wait_for(lambda: behind.endpoints()["stub"]["inflight"] == 1, "the flood")
        highest_bytes = 0
        ends_s = time.monotonic() + 15
        while behind.endpoints()["stub"]["inflight"]:
            assert time.monotonic() < ends_s
            highest_bytes = max(highest_bytes, resident_bytes(behind.child.pid))
            time.sleep(0.02)
        assert highest_bytes - before_bytes < 4_000_000, "what is not read is not kept"
        assert stub.call("flood").finished.wait(5)
        assert stub.call("flood").sent_bytes < 16_000_000, "what sockets hold, of 100 MB"
        body = {"model": "quick", "messages": []}
        assert behind.ask("POST", "/v1/chat/completions", body)["choices"]
        with pytest.raises(ConnectionResetError):
            read_until(client, b"[DONE]")
    assert behind.endpoints()["stub"]["cancelled_requests"] == 1


def test_a_slow_reader_that_makes_progress_is_not_cut_off(behind: Balancer, stub: Stub) -> None:
    calls = len(stub.calls)
    with connect(behind, receive_buffer_bytes=64 * 1024) as client:
        client.sendall(request_bytes("flood"))
        wait_for(lambda: len(stub.calls) > calls, "the flood")
        ends_s = time.monotonic() + 3
        while time.monotonic() < ends_s:
            assert client.recv(128 * 1024)
            time.sleep(0.1)
        assert behind.endpoints()["stub"]["inflight"] == 1
    assert stub.call("flood").finished.wait(5)


def test_a_client_that_leaves_ends_the_upload_to_the_endpoint(behind: Balancer, stub: Stub) -> None:
    calls, size = len(stub.calls), 60_000_000
    form = form_bytes([("model", "quick"), ("file", ("a.wav", "audio/wav", bytes(size)))])
    head = (
        f"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: x\r\ncontent-type: {CONTENT_TYPE}\r\n"
        f"content-length: {len(form)}\r\n\r\n"
    )
    with connect(behind) as client:
        client.sendall(head.encode() + form)
        wait_for(lambda: len(stub.calls) > calls, "the upload to begin")
        seen = stub.call("upload")
        wait_for(lambda: seen.received_bytes > 500_000, "some of the upload")
    assert seen.finished.wait(8), "what the sockets hold is still read, and no more comes"
    assert seen.received_bytes < size - 10_000_000
    wait_for(lambda: behind.endpoints()["stub"]["inflight"] == 0, "the slot to be free")


PHASES = {"prefilling": "prefill", "streaming": "drip"}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("how", ["close", "reset", "half"])
def test_a_client_that_leaves_is_noticed_before_the_stubs_next_chunk(
    behind: Balancer, stub: Stub, phase: str, how: str
) -> None:
    model = PHASES[phase]
    calls = len(stub.calls)
    with connect(behind) as client:
        client.sendall(request_bytes(model))
        wait_for(lambda: len(stub.calls) > calls, "the call")
        seen = stub.call(model)
        if model == "drip":
            assert b"200" in client.recv(4096)
        if how == "reset":
            linger = b"\x01\0\0\0\0\0\0\0"
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        if how == "half":
            client.shutdown(socket.SHUT_WR)
        else:
            client.close()
        left_at_s, sent_bytes = time.monotonic(), seen.sent_bytes
        assert seen.finished.wait(5)
    assert seen.peer_closed_at is not None
    assert seen.peer_closed_at - left_at_s < 2
    assert seen.sent_bytes <= sent_bytes + 200, "at most one more event was under way"
    assert behind.endpoints()["stub"]["inflight"] == 0
