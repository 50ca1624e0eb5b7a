"""WebSockets on a connection of `llmlb serve`: the handshake, hostile frames, silence, the end."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from wsproto import WSConnection
from wsproto.connection import ConnectionType
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate

from llmlb.events import StorageWell
from llmlb.http.wire.connection import GOODBYE_S
from llmlb.http.wire.websocket import ASK_AFTER_S, MOST_BYTES
from tests.fakes.served import Served
from tests.fakes.wire import LIMITS, Client

TARGET = "/ws/dashboard?types=StorageWell"
UPGRADE = b"connection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\nsec-websocket-version: 13\r\n"
KEY = b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


class Socket:
    """A WebSocket's client that plays by the rules, but for what a test makes it send."""

    def __init__(self, client: Client, *, answers_pings: bool = True) -> None:
        self.client, self.answers_pings = client, answers_pings
        self.protocol = WSConnection(ConnectionType.CLIENT)
        self.events: list[Event] = []
        self._read = 0

    async def open(self, **more: Any) -> None:
        await self.send(Request(host="x", target=TARGET, **more))
        await self.take()

    async def send(self, event: Event) -> None:
        await self.client.send(self.protocol.send(event))

    async def take(self) -> None:
        """What has come so far."""
        await wait_all_tasks_blocked()
        data, self._read = bytes(self.client.received[self._read :]), len(self.client.received)
        if not data:
            return
        self.protocol.receive_data(data)
        for event in self.protocol.events():
            self.events.append(event)
            if isinstance(event, Ping) and self.answers_pings:
                await self.send(event.response())

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def kinds(self) -> list[str]:
        return [json.loads(message.data)["type"] for message in self.of(TextMessage)]


@pytest.fixture
async def socket(served: Served, nursery: trio.Nursery) -> Socket:
    return Socket(Client(served.app, nursery))


def subscribers(served: Served) -> int:
    return served.app.house.feed.statistics().subscribers


async def test_it_opens_tells_and_closes_at_the_clients_wish(
    served: Served, socket: Socket
) -> None:
    await socket.open()
    served.app.house.tell_event(StorageWell())
    await socket.take()
    assert socket.kinds == ["connected", "StorageWell"]
    await socket.send(Ping(b"there?"))
    await socket.take()
    assert [bytes(pong.payload) for pong in socket.of(Pong)] == [b"there?"]
    await socket.send(CloseConnection(1000))
    await socket.take()
    assert socket.of(CloseConnection)
    assert subscribers(served) == 0
    await socket.client.leave()
    await socket.client.over.wait()


async def test_nothing_is_compressed(served: Served, socket: Socket) -> None:
    await socket.open(extensions=[PerMessageDeflate()], subprotocols=["chat"])
    (accepted,) = socket.of(AcceptConnection)
    assert (accepted.extensions, accepted.subprotocol) == ([], None)
    assert socket.kinds == ["connected"]


@pytest.mark.parametrize(
    "head",
    [
        UPGRADE,
        UPGRADE + b"sec-websocket-key: x\r\n",
        UPGRADE.replace(b"13", b"8") + KEY,
        UPGRADE.replace(b"Upgrade", b"close") + KEY,
        UPGRADE.replace(b"WebSocket", b"h2c") + KEY,
        UPGRADE.replace(b"Upgrade", b"Upgrade, \xff") + KEY,
        UPGRADE + KEY + b"content-length: 0\r\n",
    ],
    ids=["no key", "bad key", "old version", "no wish", "h2c", "bytes", "a body"],
)
async def test_a_handshake_that_is_none_is_a_plain_request(
    served: Served, nursery: trio.Nursery, head: bytes
) -> None:
    client = Client(served.app, nursery)
    await client.send(b"GET /ws/dashboard HTTP/1.1\r\nhost: x\r\n" + head + b"\r\n")
    (answer,) = client.answers()
    assert answer.status == 400
    assert "open it as one" in answer.error["message"]


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [("/ws/nowhere", 404, "not_found"), ("/ws/dashboard?types=x", 400, "invalid_value")],
)
async def test_a_refusal_is_an_answer_of_http(
    served: Served, nursery: trio.Nursery, target: str, status: int, code: str
) -> None:
    client = Client(served.app, nursery)
    line = f"GET {target} HTTP/1.1\r\nhost: x\r\n".encode()
    await client.send(line + UPGRADE + KEY + b"sec-websocket-extensions: \xff\r\n\r\n")
    await trio.sleep(GOODBYE_S + 1)
    (answer,) = client.answers()
    assert (answer.status, answer.error["code"]) == (status, code)
    assert answer.headers["connection"] == "close"
    assert client.over.is_set()


@pytest.mark.parametrize("kind", [TextMessage, BytesMessage])
async def test_what_a_client_says_is_passed_over_unless_it_is_too_much(
    served: Served, socket: Socket, kind: type[Message[Any]]
) -> None:
    await socket.open()
    data: Any = "x" if kind is TextMessage else b"x"
    for _ in range(30):
        await socket.send(kind(data))
    served.app.house.tell_event(StorageWell())
    await socket.take()
    assert socket.kinds == ["connected", "StorageWell"]
    await socket.send(kind(data * (MOST_BYTES + 1)))
    await socket.take()
    assert [close.code for close in socket.of(CloseConnection)] == [1009]


@pytest.mark.parametrize("early", [b"\x81\x80\0\0\0\0", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"])
@pytest.mark.parametrize(("target", "status"), [(TARGET, b"101"), ("/ws/nowhere", b"404")])
async def test_whoever_does_not_wait_for_the_handshake_is_forgotten_when_it_leaves(
    served: Served, nursery: trio.Nursery, early: bytes, target: str, status: bytes
) -> None:
    client = Client(served.app, nursery)
    head = f"GET {target} HTTP/1.1\r\nhost: x\r\n".encode()
    await client.send(head + UPGRADE + KEY + b"\r\n" + early)
    await wait_all_tasks_blocked()
    assert client.received.startswith(b"HTTP/1.1 " + status)
    assert client.received.count(b"HTTP/1.1") == 1, "what follows is no request"
    await client.leave()
    with trio.fail_after(GOODBYE_S + 1):
        await client.over.wait()
    assert subscribers(served) == 0


async def test_nothing_is_kept_of_a_message_that_is_too_large(
    served: Served, socket: Socket
) -> None:
    await socket.open()
    await socket.client.send(b"\x82\xff" + bytes([0x3F]) + bytes(7 + 4))  # of 2**62 bytes
    await socket.client.send(bytes(MOST_BYTES + 1))
    await socket.take()
    assert [close.code for close in socket.of(CloseConnection)] == [1009]
    assert subscribers(served) == 0
    await trio.sleep(GOODBYE_S + 0.1)
    assert socket.client.over.is_set(), "it is not listened to any longer"


@pytest.mark.parametrize(
    "frames",
    [b"\xff" * 200, b"\x81\x01x", b"\x81\xfe\xff\xff", b"\x88\x80", b"\x09\xff" + b"\0" * 300],
    ids=["nonsense", "no mask", "a long frame", "a bare close", "a long ping"],
)
async def test_hostile_frames_end_their_own_connection_alone(
    served: Served, socket: Socket, frames: bytes, nursery: trio.Nursery
) -> None:
    other = Socket(Client(served.app, nursery))
    await other.open()
    await socket.open()
    await socket.client.send(frames * 3)
    await trio.sleep(1)
    await socket.client.leave()
    with trio.fail_after(ASK_AFTER_S):
        await socket.client.over.wait()
    assert subscribers(served) == 1
    served.app.house.tell_event(StorageWell())
    await other.take()
    assert other.kinds == ["connected", "StorageWell"]


async def test_a_client_that_answers_pings_may_be_silent(served: Served, socket: Socket) -> None:
    await socket.open()
    for n in range(5):
        await trio.sleep(ASK_AFTER_S + 1)
        await socket.take()
        assert len(socket.of(Ping)) == n + 1
    assert subscribers(served) == 1


async def test_one_that_is_not_there_any_more_is_given_up(
    served: Served, nursery: trio.Nursery
) -> None:
    socket = Socket(Client(served.app, nursery), answers_pings=False)
    await socket.open()
    await trio.sleep(2 * ASK_AFTER_S - 1)
    assert subscribers(served) == 1
    await trio.sleep(2)
    assert subscribers(served) == 0
    await socket.take()
    assert len(socket.of(Ping)) == 1
    with trio.fail_after(1):
        await socket.client.over.wait()


async def test_a_client_that_reads_nothing_is_cut_off(
    served: Served, nursery: trio.Nursery
) -> None:
    client = Client(served.app, nursery, reads=False)
    head = f"GET {TARGET} HTTP/1.1\r\nhost: x\r\n".encode()
    await client.send(head + UPGRADE + KEY + b"\r\n")
    assert subscribers(served) == 1
    with trio.fail_after(LIMITS.write_s + 1):
        await client.over.wait()
    assert subscribers(served) == 0


async def test_a_stop_says_that_it_goes_away(served: Served, socket: Socket) -> None:
    await socket.open()
    served.app.cut_off()
    await socket.take()
    (close,) = socket.of(CloseConnection)
    assert (close.code, close.reason) == (1001, "the balancer stops")
    await socket.send(close.response())
    with trio.fail_after(GOODBYE_S + 0.1):
        await socket.client.over.wait()
