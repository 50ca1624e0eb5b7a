"""Requests that two servers could read in two ways, on raw sockets."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import StartBalancer
from tests.e2e.fleet import Balancer
from tests.e2e.stub import Asked, Stub
from tests.fakes.local_server import running
from tests.fakes.wire import Answered, answers_in

BODY = json.dumps({"model": "quick", "messages": []}).encode()
SMUGGLED_BODY = json.dumps({"model": "cut", "messages": []}).encode()
LINE = b"POST /v1/chat/completions HTTP/1.1\r\n"
LENGTH = b"content-length: %d\r\n" % len(BODY)
CHUNKED = b"transfer-encoding: chunked\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
SMUGGLED = LINE + b"host: x\r\ncontent-length: %d\r\n\r\n" % len(SMUGGLED_BODY) + SMUGGLED_BODY


def head(*lines: bytes, first: bytes = LINE, host: bytes = b"host: x\r\n") -> bytes:
    return b"".join((first, host, b"connection: close\r\n", *lines, b"\r\n"))


def length(told: bytes) -> bytes:
    return head(b"content-length: " + told + b"\r\n") + BODY


def coding(told: bytes) -> bytes:
    return head(b"transfer-encoding: " + told + b"\r\n") + CHUNKS


def chunk(line: bytes) -> bytes:
    return head(CHUNKED) + line + b"\r\n" + BODY + b"\r\n0\r\n\r\n"


REFUSED: dict[str, tuple[bytes, set[int]]] = {
    "CL.TE": (head(b"content-length: 6\r\n", CHUNKED) + b"0\r\n\r\nG" + SMUGGLED, {400}),
    "TE.CL": (head(CHUNKED, b"content-length: 4\r\n") + b"5c\r\n" + SMUGGLED, {400}),
    "two lengths": (head(LENGTH, b"content-length: 3\r\n") + BODY, {400}),
    "two lengths in one": (length(b"%d, 3" % len(BODY)), {400}),
    "length +": (length(b"+%d" % len(BODY)), {400}),
    "length -": (length(b"-1"), {400}),
    "length 0x": (length(b"0x10"), {400}),
    "length e": (length(b"1e2"), {400}),
    "length _": (length(b"1_0"), {400}),
    "length with a space": (length(b"1 0"), {400}),
    "length empty": (length(b""), {400}),
    "length of another script": (length("٣".encode()), {400}),
    "length without end": (length(b"9" * 40), {400}),
    "two hosts": (head(b"host: y\r\n", LENGTH) + BODY, {400}),
    "no host": (head(LENGTH, host=b"") + BODY, {400}),
    "folded header": (head(b"x-a: b\r\n c\r\n", LENGTH) + BODY, {400}),
    "folded coding": (head(b"transfer-encoding:\r\n chunked\r\n") + CHUNKS, {400}),
    "bare LF": (head(LENGTH).replace(b"\r\n", b"\n") + BODY, {400}),
    "one bare LF": (head(b"x-a: b\n", LENGTH) + BODY, {400}),
    "bare LF and a coding": (head(b"x-a: b\ntransfer-encoding: chunked\r\n", LENGTH) + BODY, {400}),
    "bare CR": (head(b"x-a: b\rtransfer-encoding: chunked\r\n", LENGTH) + BODY, {400}),
    "identity": (coding(b"identity"), {400, 501}),
    "xchunked": (coding(b"xchunked"), {501}),
    "chunked, identity": (coding(b"chunked, identity"), {501}),
    "identity, chunked": (coding(b"identity, chunked"), {501}),
    "chunked twice": (coding(b"chunked, chunked"), {501}),
    "chunked in two headers": (head(CHUNKED, CHUNKED) + CHUNKS, {501}),
    "chunked with a tab": (coding(b"chunked\x0b"), {400}),
    "gzip, chunked": (coding(b"gzip, chunked"), {501}),
    "space before the colon": (head(b"transfer-encoding : chunked\r\n") + CHUNKS, {400}),
    "space in a name": (head(b"x a: b\r\n", LENGTH) + BODY, {400}),
    "no name": (head(b": b\r\n", LENGTH) + BODY, {400}),
    "no colon": (head(b"x-a\r\n", LENGTH) + BODY, {400}),
    "NUL in a value": (head(b"x-a: b\0c\r\n", LENGTH) + BODY, {400}),
    "NUL in a name": (head(b"x\0a: b\r\n", LENGTH) + BODY, {400}),
    "size g": (chunk(b"g"), {400}),
    "size -": (chunk(b"-%x" % len(BODY)), {400}),
    "size +": (chunk(b"+%x" % len(BODY)), {400}),
    "size 0x": (chunk(b"0x%x" % len(BODY)), {400}),
    "size empty": (chunk(b""), {400}),
    "size with a space": (chunk(b"1 %x" % len(BODY)), {400}),
    "size without end": (chunk(b"f" * 30), {400}),
    "size too small": (chunk(b"%x" % (len(BODY) - 5)), {400}),
    "size with a bare LF": (head(CHUNKED) + CHUNKS.replace(b"\r\n", b"\n", 1), {400}),
    "extension without end": (chunk(b"%x;x=" % len(BODY) + b"y" * 200_000), {400, 431}),
    "trailers without end": (
        head(CHUNKED) + CHUNKS[:-2] + b"x: y\r\n" * 50_000 + b"\r\n",
        {400, 431},
    ),
    "HTTP/0.9": (b"GET /health\r\n\r\n", {400}),
    "HTTP/2.0": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400}),
    "HTTP/9.9": (head(LENGTH, first=LINE.replace(b"1.1", b"9.9")) + BODY, {400}),
    "no version": (head(LENGTH, first=LINE.replace(b" HTTP/1.1", b"")) + BODY, {400}),
    "space in the target": (head(LENGTH, first=LINE.replace(b"chat/", b"chat /")) + BODY, {400}),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500, {400}),
    "nothing but ends": (b"\r\n" * 100, {400}),
}
"""Each with the status that it may be refused with."""

TAKEN: dict[str, bytes] = {
    "in good order": head(LENGTH) + BODY,
    "the same length twice": head(LENGTH, LENGTH) + BODY,
    "chunked": head(CHUNKED) + CHUNKS,
    "chunked in capitals": coding(b"CHUNKED"),
    "chunked with spaces": coding(b"  chunked\t "),
    "a size with zeros": chunk(b"0000%x" % len(BODY)),
    "extensions": chunk(b"%x;a=b;c" % len(BODY)),
    "many extensions": head(CHUNKED)
    + b"".join(b"1;%b\r\n%c\r\n" % (b"x" * 2000, byte) for byte in BODY)
    + b"0\r\n\r\n",
    "trailers": head(CHUNKED) + CHUNKS[:-2] + b"content-length: 3\r\nx-smuggled: y\r\n\r\n",
    "a target with a host": head(
        LENGTH, first=b"POST http://evil.example/v1/chat/completions HTTP/1.1\r\n"
    )
    + BODY,
    "lengths that the connection is to drop": head(b"connection: content-length\r\n", LENGTH)
    + BODY,
    "another host": head(LENGTH, host=b"host: evil.example\r\n") + BODY,
    "an upgrade": head(b"connection: upgrade\r\nupgrade: h2c\r\n", LENGTH) + BODY,
    "a request as its rest": head(LENGTH) + BODY + SMUGGLED,
}
"""Each makes the one request upstream that its body says, and no other."""


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with running(Stub()) as stub:
        yield stub


@pytest.fixture(scope="module")
def behind(stub: Stub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancer]:
    """One balancer for all of them, with the stub as its only endpoint."""
    with Balancer(tmp_path_factory.mktemp("smuggling")) as balancer:
        put_before(balancer, stub)
        yield balancer


def put_before(balancer: Balancer, stub: Stub) -> None:
    balancer.ask("POST", "/api/endpoints", {"name": "stub", "base_url": stub.url})
    balancer.wait_until_online("stub")
    stub.posts.clear()  # the survey asks, too, whether there are other routes


def told(balancer: Balancer, raw: bytes) -> bytes:
    """What comes back to *raw* until the balancer closes the connection."""
    received = b""
    with socket.create_connection(("127.0.0.1", balancer.port), timeout=10) as sock:
        try:
            sock.sendall(raw)
            while data := sock.recv(65536):
                received += data
        except (BrokenPipeError, ConnectionResetError):
            pass  # it does not listen any more; what it has said counts
    return received


def answers(balancer: Balancer, raw: bytes) -> list[Answered]:
    return answers_in(told(balancer, raw), *["POST"] * 3)


def is_rebuilt(post: Asked, stub: Stub) -> bool:
    """Whether *post* is the request of `BODY` in our own words, with nothing of the client's."""
    names = [name.lower() for name, _ in post.headers]
    headers = {name.lower(): value for name, value in post.headers}
    return (
        post.line == "POST /v1/chat/completions HTTP/1.1"
        and post.body == BODY
        and len(names) == len(set(names))
        and headers["content-length"] == str(len(BODY))
        and headers["host"] == stub.url.removeprefix("http://")
        and not {"transfer-encoding", "x-smuggled", "x-a", "upgrade", "trailer"} & set(names)
    )


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused(behind: Balancer, stub: Stub, name: str) -> None:
    raw, statuses = REFUSED[name]
    stub.posts.clear()

    [answer] = answers(behind, raw)

    assert answer.status in statuses
    assert answer.error["message"]
    assert answer.headers["connection"] == "close"
    assert not stub.posts, "nothing of it went on"


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_taken_makes_one_request_in_our_own_words(
    behind: Balancer, stub: Stub, name: str
) -> None:
    stub.posts.clear()

    received = told(behind, TAKEN[name])

    assert received.startswith(b"HTTP/1.1 200")
    assert received.count(b"HTTP/1.1 ") == 1
    [post] = stub.posts
    assert is_rebuilt(post, stub)


@pytest.mark.parametrize("garbage", [b"garbage\r\n\r\n", b"\0" * 1000, b"x" * 70_000])
def test_garbage_behind_a_request_is_refused_after_its_answer(
    behind: Balancer, stub: Stub, garbage: bytes
) -> None:
    stub.posts.clear()
    raw = LINE + b"host: x\r\n" + LENGTH + b"\r\n" + BODY

    good, bad = answers(behind, raw + garbage)

    assert (good.status, bad.status // 100) == (200, 4)
    assert bad.error
    [post] = stub.posts
    assert is_rebuilt(post, stub)


def test_all_that_reached_the_endpoint_were_requests_of_ours(behind: Balancer, stub: Stub) -> None:
    told(behind, TAKEN["in good order"])
    known = ("GET /", "POST /v1/", "POST /api/")
    assert all(line.startswith(known) and line.endswith(" HTTP/1.1") for line in stub.lines)
    assert not [call for call in stub.calls if call.model == "cut"]


def test_a_wrong_method_is_told_the_right_ones(behind: Balancer) -> None:
    answer = httpx.get(f"{behind.base_url}/v1/chat/completions", trust_env=False)
    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]


WEBSOCKET = (
    b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"sec-websocket-extensions: \xff\r\n\r\n"
)


def test_a_handshake_that_ends_hypercorns_own_server_is_a_plain_request(behind: Balancer) -> None:
    with socket.create_connection(("127.0.0.1", behind.port), timeout=10) as sock:
        sock.sendall(WEBSOCKET)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
    assert behind.is_up()


# -- hypercorn's own command


def test_the_bare_command_takes_no_more_than_ours(start_balancer: StartBalancer) -> None:
    balancer = start_balancer(face="hypercorn")
    for raw, statuses in REFUSED.values():
        if raw.startswith(b"PRI "):
            continue  # it speaks HTTP/2
        [answer] = answers(balancer, raw)
        assert answer.status in statuses
        assert answer.headers["connection"] == "close"
    told(balancer, WEBSOCKET + b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert balancer.is_up()


# -- its own connections, which cannot refuse all of it

HYPERCORNS_OWN = {"LLMLB_LANE": "off"}


@pytest.mark.parametrize("name", ["folded header", "bare LF", "one bare LF"])
def test_what_hypercorn_takes_cannot_smuggle(
    start_balancer: StartBalancer, stub: Stub, name: str, tmp_path: Path
) -> None:
    balancer = start_balancer(face="hypercorn", settings=HYPERCORNS_OWN)
    put_before(balancer, stub)

    received = told(balancer, REFUSED[name][0])

    assert received.startswith(b"HTTP/1.1 200")
    [post] = stub.posts
    assert is_rebuilt(post, stub)


def test_one_client_can_end_hypercorns_own_server(start_balancer: StartBalancer) -> None:
    balancer = start_balancer(face="hypercorn", settings=HYPERCORNS_OWN)

    told(balancer, WEBSOCKET)

    ends_at_s = time.monotonic() + 10
    while balancer.is_up():
        assert time.monotonic() < ends_at_s, (
            "hypercorn has learnt to survive it: say so in hosting.md"
        )
        time.sleep(0.1)
