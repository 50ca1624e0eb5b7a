"""How an answer of the lane looks on the wire, and when another one can follow it."""

from __future__ import annotations

import h11
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from llmlb.http.downstream import Downstream, Head, PeerGone
from llmlb.http.lane.answer import WRITTEN_BYTES, LaneAnswer
from llmlb.http.streams.byte_stream import StreamBroken
from tests.conftest import run_in_virtual_time


class Wire:
    """A ByteStream whose other end takes what it is sent, or does not."""

    def __init__(self, *, broken: bool = False, stuck: bool = False) -> None:
        self.broken, self.stuck = broken, stuck
        self.pieces: list[bytes] = []

    peer_gone = False

    def on_peer_gone(self, tell: object) -> None: ...

    async def receive_some(self) -> bytes:
        raise NotImplementedError

    async def send_all(self, data: bytes) -> None:
        if self.stuck:
            await trio.sleep_forever()
        if self.broken:
            raise StreamBroken
        self.pieces.append(data)

    def abort(self) -> None: ...

    def close(self) -> None: ...

    async def aclose(self) -> None: ...

    @property
    def sent(self) -> bytes:
        return b"".join(self.pieces)


def answer_on(wire: Wire, *, last: bool = False) -> LaneAnswer:
    return LaneAnswer(wire, of_server=lambda: b"date: now\r\n", is_last=lambda _: last)


def _conforms(answer: LaneAnswer) -> Downstream:
    """For the type checker: it is a downstream."""
    return answer


async def test_the_head_leaves_with_the_first_piece() -> None:
    wire = Wire()
    answer = answer_on(wire)
    await answer.begin(Head(200, (("content-length", "5"), ("x-y", "\xe9"))))
    assert not wire.pieces
    await answer.send(b"Hello")
    await answer.finish()

    assert wire.pieces == [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-y: \xe9\r\ndate: now\r\n\r\nHello"
    ]
    assert answer.complete


async def test_what_has_no_length_is_sent_in_chunks() -> None:
    wire = Wire()
    answer = answer_on(wire, last=True)
    await answer.begin(Head(499, ()))  # of no standard, and still a status
    await answer.send(b"a" * 17)
    await answer.send(b"b")
    await answer.finish()

    head, *rest = wire.pieces
    assert head == (
        b"HTTP/1.1 499 \r\ntransfer-encoding: chunked\r\nconnection: close\r\ndate: now\r\n\r\n"
        b"11\r\n" + b"a" * 17 + b"\r\n"
    )
    assert rest == [b"1\r\nb\r\n", b"0\r\n\r\n"]
    assert not answer.complete, "it was the last one"


@pytest.mark.parametrize("bad", ["a\r\nx: y", "a\nb", "a\rb", "a\0"])
async def test_a_header_cannot_become_two(bad: str) -> None:
    wire = Wire()
    with pytest.raises(ValueError, match="line break"):
        await answer_on(wire).begin(Head(200, (("x", bad),)))
    assert not wire.pieces


async def test_an_answer_that_was_given_up_is_not_completed() -> None:
    for head in (Head(200, ()), Head(200, (("content-length", "5"),))):
        wire = Wire()
        answer = answer_on(wire)
        await answer.begin(head)
        await answer.send(b"abcde")
        answer.abort()
        await answer.finish()
        assert not answer.complete
        assert not wire.sent.endswith(b"0\r\n\r\n")


async def test_an_answer_that_is_shorter_than_it_said_is_not_complete() -> None:
    wire = Wire()
    answer = answer_on(wire)
    await answer.begin(Head(200, (("content-length", "5"),)))
    await answer.send(b"abc")
    await answer.finish()
    assert not answer.complete


async def test_a_broken_connection_is_a_client_that_has_left() -> None:
    answer = answer_on(Wire(broken=True))
    await answer.begin(Head(200, ()))
    with pytest.raises(PeerGone):
        await answer.send(b"x")
    assert answer.peer_gone


def test_nothing_follows_half_a_piece() -> None:
    async def main() -> None:
        wire = Wire(stuck=True)
        answer = answer_on(wire)
        await answer.begin(Head(200, ()))
        with trio.move_on_after(5):
            await answer.send(b"x")
        assert answer.writes % 2 == 1, "it can be seen that a write is under way"
        wire.stuck = False
        with pytest.raises(PeerGone):
            await answer.send(b"an error event")
        await answer.finish()
        assert not wire.pieces
        assert not answer.complete

    run_in_virtual_time(main)


async def test_a_large_piece_shows_how_far_it_has_come() -> None:
    wire = Wire()
    answer = answer_on(wire)
    await answer.begin(Head(200, (("content-length", str(3 * WRITTEN_BYTES)),)))
    await answer.send(b"x" * 3 * WRITTEN_BYTES)
    await answer.finish()
    assert answer.complete
    assert max(map(len, wire.pieces)) == WRITTEN_BYTES
    assert answer.writes > 2 * len(wire.pieces)
    assert answer.writes % 2 == 0


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=100), max_size=10),
    told=st.booleans(),
    last=st.booleans(),
)
def test_whatever_is_answered_a_client_reads_it(
    pieces: list[bytes], told: bool, last: bool
) -> None:
    whole = b"".join(pieces)

    async def main() -> bytes:
        wire = Wire()
        answer = answer_on(wire, last=last)
        length = (("content-length", str(len(whole))),) if told else ()
        await answer.begin(Head(200, length))
        for piece in pieces:
            await answer.send(piece)
        await answer.finish()
        assert answer.complete is not last
        return wire.sent

    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="POST", target="/", headers=[("host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(trio.run(main))
    events = []
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        events.append(event)
    assert b"".join(event.data for event in events if isinstance(event, h11.Data)) == whole
    assert (client.their_state is h11.MUST_CLOSE) is last
