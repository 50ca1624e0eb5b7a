"""Streams, leaving clients and broken endpoints on real sockets."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import StartBalancer
from tests.e2e.fleet import Balancer, wait_for
from tests.e2e.stub import Stub


@pytest.fixture
def behind(start_balancer: StartBalancer, stub: Stub) -> Balancer:
    """A balancer with the stub as its only endpoint."""
    balancer = start_balancer()
    balancer.ask("POST", "/api/endpoints", {"name": "stub", "base_url": stub.url, "api_key": "up"})
    balancer.wait_until_online("stub")
    return balancer


def request_bytes(model: str, *, stream: bool = True) -> bytes:
    body = json.dumps({"model": model, "stream": stream, "messages": []}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer of-the-client\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def connect(balancer: Balancer, receive_buffer_bytes: int | None = None) -> socket.socket:
    sock = socket.socket()
    if receive_buffer_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    sock.settimeout(20)
    sock.connect(("127.0.0.1", balancer.port))
    return sock


def resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if "VmRSS" in line)


def test_credentials_stay_where_they_belong(behind: Balancer, stub: Stub) -> None:
    with connect(behind) as client:
        client.sendall(request_bytes("cut"))
        client.recv(100)
        assert stub.call("cut").headers["authorization"] == "Bearer up"


def test_a_body_that_comes_after_its_answer_leaves_the_connection_usable(
    behind: Balancer,
) -> None:
    head = b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n"
    with connect(behind) as client:
        for _ in range(3):
            client.sendall(head)
            assert read_until(client, b"There is no route").startswith(b"HTTP/1.1 404")
            client.sendall(b"x" * 100_000)


@pytest.mark.parametrize(("model", "stream"), [("prefill", True), ("prefill", False)])
def test_a_client_that_leaves_during_prefill_takes_the_upstream_call_with_it(
    behind: Balancer, stub: Stub, model: str, stream: bool
) -> None:
    with connect(behind) as client:
        client.sendall(request_bytes(model, stream=stream))
        wait_for(lambda: stub.calls, "the call to reach the endpoint")
        left_at = time.monotonic()
    wait_for(lambda: stub.call(model).peer_closed_at, "the upstream call to be closed")
    closed_at = stub.call(model).peer_closed_at
    assert closed_at is not None
    assert closed_at - left_at < 2


def test_a_client_that_leaves_a_stream_is_noticed_before_the_next_token(
    behind: Balancer, stub: Stub
) -> None:
    with connect(behind) as client:
        client.sendall(request_bytes("drip"))
        assert b"200" in client.recv(4096)
        wait_for(lambda: stub.call("drip").sent_bytes > 0, "a first token")
    assert stub.call("drip").finished.wait(5)
    sent = stub.call("drip").sent_bytes
    assert sent < 20 * 100  # a handful of tokens, not the whole stream
    assert behind.endpoints()["stub"]["inflight"] == 0
    totals = behind.endpoints()["stub"]
    assert (totals["cancelled_requests"], totals["failed_requests"]) == (1, 0)
    assert totals["latency_ms"] is None


def test_a_client_in_line_that_leaves_gives_up_its_place(behind: Balancer, stub: Stub) -> None:
    behind.ask("PUT", f"/api/endpoints/{behind.endpoints()['stub']['id']}", {"max_concurrency": 1})
    with connect(behind) as first:
        first.sendall(request_bytes("hold", stream=False))
        wait_for(lambda: stub.calls, "the first call")
        with connect(behind) as second:
            second.sendall(request_bytes("hold", stream=False))
            time.sleep(0.1)
        assert b"done" in read_until(first, b"done")
    time.sleep(0.3)
    assert len(stub.calls) == 1  # the one that left was never sent


def read_until(sock: socket.socket, until: bytes) -> bytes:
    held = b""
    while until not in held and (data := sock.recv(65536)):
        held += data
    return held


def test_a_stream_that_breaks_ends_with_an_error_event_and_without_done(
    behind: Balancer, stub: Stub
) -> None:
    answer = httpx.post(
        f"{behind.base_url}/v1/chat/completions",
        json={"model": "cut", "stream": True, "messages": []},
        trust_env=False,
    )
    events = [e for e in answer.text.split("\n\n") if e]
    assert len(events) == 4
    assert json.loads(events[3].removeprefix("data: "))["error"]["type"] == "upstream_error"
    assert "[DONE]" not in answer.text


def test_half_a_plain_answer_is_an_error(behind: Balancer, stub: Stub) -> None:
    answer = httpx.post(
        f"{behind.base_url}/v1/chat/completions",
        json={"model": "broken-plain", "messages": []},
        trust_env=False,
    )
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_error"


def test_memory_stays_flat_while_100_mb_stream_through(behind: Balancer, stub: Stub) -> None:
    pid = behind.child.pid
    received = 0
    with httpx.stream(
        "POST",
        f"{behind.base_url}/v1/chat/completions",
        json={"model": "flood", "stream": True, "messages": []},
        trust_env=False,
        timeout=60,
    ) as answer:
        highest = lowest = 0
        for data in answer.iter_raw():
            received += len(data)
            if received > 5_000_000:  # past the start
                now = resident_bytes(pid)
                lowest = min(lowest or now, now)
                highest = max(highest, now)
    assert received > 99_000_000
    assert highest - lowest < 8_000_000


def test_a_client_that_stops_reading_stops_the_endpoint(behind: Balancer, stub: Stub) -> None:
    with connect(behind, receive_buffer_bytes=64 * 1024) as client:
        client.sendall(request_bytes("flood"))
        client.recv(1024)
        seen = stub.call("flood")
        before = -1
        while before != seen.sent_bytes:  # until nothing moves any more
            before = seen.sent_bytes
            time.sleep(0.5)
        assert before < 30_000_000  # what the sockets' buffers hold, not the whole answer


def test_a_client_that_stops_reading_does_not_hold_its_slot_for_ever(
    start_balancer: StartBalancer, stub: Stub
) -> None:
    balancer = start_balancer(settings={"LLMLB_STREAM_TIMEOUT_S": "2"})
    endpoint = {"name": "stub", "base_url": stub.url, "max_concurrency": 1}
    balancer.ask("POST", "/api/endpoints", endpoint)
    balancer.wait_until_online("stub")
    with connect(balancer, receive_buffer_bytes=64 * 1024) as client:
        client.sendall(request_bytes("flood"))
        client.recv(1024)
        wait_for(lambda: balancer.endpoints()["stub"]["inflight"] == 0, "the slot to be free")
        answer = balancer.ask("POST", "/v1/chat/completions", {"model": "quick", "messages": []})
        assert answer["choices"]
        assert stub.call("flood").finished.wait(5)


def test_signals_that_come_while_stopping_lose_nothing(
    start_balancer: StartBalancer, stub: Stub, tmp_path: Path
) -> None:
    balancer = start_balancer(directory=tmp_path / "twice")
    balancer.ask("POST", "/api/endpoints", {"name": "stub", "base_url": stub.url})
    balancer.wait_until_online("stub")
    with connect(balancer) as idle:
        idle.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        idle.recv(4096)
        balancer.ask("POST", "/v1/chat/completions", {"model": "quick", "messages": []})
        for _ in range(3):
            balancer.child.ask_to_end()
            time.sleep(0.1)
        assert balancer.stop() == 0
    again = start_balancer(directory=tmp_path / "twice")
    assert again.endpoints()["stub"]["total_requests"] == 1


def test_a_stop_is_not_held_up_by_a_client_that_neither_reads_nor_leaves(
    start_balancer: StartBalancer, stub: Stub
) -> None:
    balancer = start_balancer(settings={"LLMLB_DRAIN_TIMEOUT_S": "0.5"})
    balancer.ask("POST", "/api/endpoints", {"name": "stub", "base_url": stub.url})
    balancer.wait_until_online("stub")
    with connect(balancer, receive_buffer_bytes=64 * 1024) as client:
        client.sendall(request_bytes("flood"))
        client.recv(1024)
        time.sleep(0.5)
        started = time.monotonic()
        assert balancer.stop() == 0
        assert time.monotonic() - started < 9


def test_running_requests_are_finished_before_the_balancer_stops(
    behind: Balancer, stub: Stub
) -> None:
    with ThreadPoolExecutor(1) as pool, connect(behind) as client:
        client.sendall(request_bytes("hold", stream=False))
        wait_for(lambda: stub.calls, "the call")
        stopping = pool.submit(behind.stop)
        time.sleep(0.1)
        ready = httpx.get(f"{behind.base_url}/ready", trust_env=False)
        assert ready.status_code == 503
        late = httpx.post(
            f"{behind.base_url}/v1/chat/completions",
            json={"model": "hold", "messages": []},
            trust_env=False,
        )
        assert (late.status_code, late.json()["error"]["code"]) == (503, "shutting_down")
        assert "retry-after" in late.headers
        assert b"done" in read_until(client, b"done")
        assert stopping.result() == 0


def test_a_second_signal_means_now(behind: Balancer, stub: Stub) -> None:
    with connect(behind) as client:
        client.sendall(request_bytes("prefill"))
        wait_for(lambda: stub.calls, "the call")
        behind.child.ask_to_end()
        time.sleep(0.2)
        started = time.monotonic()
        assert behind.stop() == 0
        assert time.monotonic() - started < 6


def test_many_streams_at_once_all_end_well(behind: Balancer, stub: Stub) -> None:
    behind.ask("PUT", f"/api/endpoints/{behind.endpoints()['stub']['id']}", {"max_concurrency": 64})

    def one(_: int) -> int:
        answer = httpx.post(
            f"{behind.base_url}/v1/chat/completions",
            json={"model": "hold", "messages": []},
            trust_env=False,
            timeout=30,
        )
        return answer.status_code

    with ThreadPoolExecutor(40) as pool:
        assert list(pool.map(one, range(80))) == [200] * 80
    assert behind.endpoints()["stub"]["inflight"] == 0
