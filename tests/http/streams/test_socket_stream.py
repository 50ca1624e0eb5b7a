"""A ByteStream over real sockets: what passes, who waits, and how an end is heard of."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from llmlb.http.streams import peer_watch as watching
from llmlb.http.streams.byte_stream import READ_BYTES, ByteStream, StreamBroken
from llmlb.http.streams.socket_stream import CLOSE_WITHIN_S, TURNS, SocketStream

Pair = tuple[SocketStream, SocketStream]
MUCH = bytes(range(256)) * 16 * 1024
"""More than the system holds for a socket."""


@pytest.fixture(params=["tcp", "unix"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    if request.param == "unix":
        ours, theirs = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            ours = socket.create_connection(listening.getsockname())
            theirs, _ = listening.accept()
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture
async def streams(pair: tuple[socket.socket, socket.socket]) -> AsyncIterator[Pair]:
    ours, theirs = SocketStream(pair[0]), SocketStream(pair[1])
    yield ours, theirs
    ours.close()
    theirs.close()


def the_stream_keeps_the_interface(stream: SocketStream) -> ByteStream:
    return stream


async def all_of(stream: SocketStream) -> bytes:
    received = bytearray()
    while data := await stream.receive_some():
        assert len(data) <= READ_BYTES
        received += data
    return bytes(received)


async def test_what_is_sent_comes_whole_and_in_order_however_much_it_is(streams: Pair) -> None:
    ours, theirs = streams

    async def send() -> None:
        await ours.send_all(b"first")
        await ours.send_all(b"")
        await ours.send_all(MUCH)
        ours.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        assert await all_of(theirs) == b"first" + MUCH


async def test_who_sends_more_than_is_read_waits(streams: Pair) -> None:
    ours, theirs = streams
    with trio.move_on_after(0.05) as patience:
        while True:
            await ours.send_all(MUCH)
    assert patience.cancelled_caught
    ours.close()
    assert len(await all_of(theirs)) > 0


async def test_a_read_that_is_cancelled_has_taken_nothing(streams: Pair) -> None:
    ours, theirs = streams
    with trio.move_on_after(0.01) as patience:
        await ours.receive_some()
    assert patience.cancelled_caught
    await theirs.send_all(b"late")
    assert await ours.receive_some() == b"late"


async def test_a_stream_that_never_waits_lets_the_others_have_their_turn(streams: Pair) -> None:
    ours, theirs = streams
    await theirs.send_all(b"x" * 100)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async def again_and_again() -> None:
        for _ in range(10 * TURNS):
            await theirs.send_all(b"x")
            await ours.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await again_and_again()
        nursery.cancel_scope.cancel()
    assert turns >= 15, "reads and writes, each every TURNS"


async def test_a_cancelled_task_that_never_waits_ends_after_a_few_turns(streams: Pair) -> None:
    done = 0
    with trio.CancelScope() as scope:
        scope.cancel()
        for _ in range(100):
            await streams[0].send_all(b"x")
            done += 1
    assert done == TURNS


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("pair", ["tcp"], indirect=True)
async def test_a_reset_breaks_reading_and_writing(streams: Pair) -> None:
    ours, theirs = streams
    reset(theirs._sock)
    with pytest.raises(StreamBroken):
        await ours.receive_some()
    with pytest.raises(StreamBroken):
        await ours.send_all(b"x")
    assert ours.peer_gone


@pytest.mark.parametrize("do", [lambda s: s.receive_some(), lambda s: s.send_all(MUCH)])
async def test_closing_breaks_off_whoever_waits_and_all_that_comes_later(
    streams: Pair, do: Callable[[SocketStream], object]
) -> None:
    ours, _ = streams
    action: Callable[[SocketStream], object] = do

    async def use() -> None:
        with pytest.raises(StreamBroken):
            await action(ours)  # type: ignore[misc]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(use)
        await wait_all_tasks_blocked()
        ours.close()
    await use()
    ours.close()
    assert ours.peer_gone


async def test_who_has_asked_and_closed_gets_no_answer(streams: Pair) -> None:
    ours, _ = streams
    await ours.send_all(b"a question")
    ours.close()
    with pytest.raises(StreamBroken):
        await ours.receive_some()


async def test_whether_the_other_end_is_there_is_seen_without_reading(streams: Pair) -> None:
    ours, theirs = streams

    def seen() -> tuple[bool, bool]:
        return ours.peer_gone, ours.said_all

    assert seen() == (False, False)
    await theirs.send_all(b"unasked")
    assert seen() == (True, False), "the first is of a connection on which nothing is due"
    assert await ours.receive_some() == b"unasked"
    assert seen() == (False, False)
    theirs.close()
    assert seen() == (True, True)
    assert await ours.receive_some() == b""


@pytest.mark.parametrize("unread", [b"", b"still unread"])
async def test_closing_in_good_order_takes_nothing_back(
    streams: Pair, unread: bytes, autojump_clock: MockClock
) -> None:
    ours, theirs = streams
    await theirs.send_all(unread)
    await ours.send_all(b"the end")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.aclose)
        await wait_all_tasks_blocked()
        assert await all_of(theirs) == b"the end"
        theirs.close()
    assert trio.current_time() == 0
    await ours.aclose()


async def test_who_does_not_close_in_turn_is_waited_for_a_moment(
    streams: Pair, autojump_clock: MockClock
) -> None:
    await streams[0].aclose()
    assert trio.current_time() == CLOSE_WITHIN_S


# --- hearing of an end


@pytest.fixture(params=["by epoll", "by looking"])
def watch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways; the one of other systems works here as well."""
    if request.param == "by looking":
        monkeypatch.setattr(watching, "_new_watch", watching.SweepWatch)
    return str(request.param)


class Told:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


async def settle() -> None:
    """Let the watch find what there is to be found."""
    await trio.sleep(2 * watching.SWEEP_EVERY_S)


async def test_an_end_is_told_once(streams: Pair, watch: str, autojump_clock: MockClock) -> None:
    ours, theirs = streams
    told = Told()
    ours.on_peer_gone(told)
    await theirs.send_all(b"no end")
    assert await ours.receive_some() == b"no end"
    await settle()
    assert told.times == 0
    theirs.close()
    assert told.times == 0
    await settle()
    await settle()
    assert told.times == 1
    assert await ours.receive_some() == b""


async def test_an_end_is_heard_while_bytes_are_unread(streams: Pair) -> None:
    ours, theirs = streams
    told = Told()
    ours.on_peer_gone(told)
    await theirs.send_all(b"the last words")
    theirs.close()
    await wait_all_tasks_blocked()
    assert told.times == 1
    assert await all_of(ours) == b"the last words"


async def test_who_asks_after_the_end_is_told_soon_but_not_from_within(
    streams: Pair, watch: str, autojump_clock: MockClock
) -> None:
    ours, theirs = streams
    theirs.close()
    for _ in range(2):
        told = Told()
        ours.on_peer_gone(told)
        assert told.times == 0
        await settle()
        assert told.times == 1


async def test_who_does_not_want_to_hear_any_more_is_not_told_until_he_asks_again(
    streams: Pair, watch: str, autojump_clock: MockClock
) -> None:
    ours, theirs = streams
    told = Told()
    ours.on_peer_gone(told)
    ours.on_peer_gone(None)
    theirs.close()
    await settle()
    assert told.times == 0
    ours.on_peer_gone(told)
    await settle()
    assert told.times == 1


async def test_a_stream_that_was_closed_here_tells_nobody_anything(
    streams: Pair, watch: str, autojump_clock: MockClock
) -> None:
    ours, theirs = streams
    told = Told()
    ours.on_peer_gone(told)
    theirs.close()
    ours.close()
    ours.on_peer_gone(told)
    await settle()
    assert told.times == 0


async def test_a_number_that_is_used_again_belongs_to_its_new_owner(
    watch: str, autojump_clock: MockClock
) -> None:
    """Two end in one moment; whoever is told first closes the other, and opens a third."""
    pairs = [socket.socketpair() for _ in range(2)]
    ours = [SocketStream(one) for one, _ in pairs]
    opened: list[tuple[SocketStream, socket.socket]] = []
    told = Told()

    def replace(other: int) -> Callable[[], None]:
        def replace() -> None:
            told()
            ours[other].close()
            new, end = socket.socketpair()
            opened.append((SocketStream(new), end))
            opened[-1][0].on_peer_gone(told)

        return replace

    for i in range(2):
        ours[i].on_peer_gone(replace(1 - i))
    for _, theirs in pairs:
        theirs.close()
    await settle()
    assert told.times == 1
    for stream in (*ours, *(stream for stream, _ in opened)):
        stream.close()
    for _, end in opened:
        end.close()
