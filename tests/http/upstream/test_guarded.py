"""A network that connects only to addresses that it has checked."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from llmlb.http.upstream.faults import AddressRefused
from llmlb.http.upstream.guarded import HEAD_START_S, MAX_ADDRESSES, GuardedNetwork, resolve
from llmlb.http.upstream.listener import Listener
from llmlb.http.upstream.rules import for_endpoints, for_strangers
from tests.fakes.byte_stream import MemoryByteStream
from tests.fakes.network import MemoryNetwork, ServerSide

PUBLIC, OTHER = "93.184.216.34", "8.8.4.4"


async def silent(side: ServerSide) -> None:
    await side.request()


class Names:
    """A resolver whose answers a test sets: each call takes the next, the last one stays."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []
        self.delay_s = 0.0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        await trio.sleep(self.delay_s)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def public_only(below: MemoryNetwork, names: Names) -> GuardedNetwork:
    return GuardedNetwork(for_strangers(), network=below, resolve=names)


async def test_the_checked_address_is_the_one_connected_to(nursery: trio.Nursery) -> None:
    # A second resolution, which would lead home, is never asked for.
    below, names = MemoryNetwork(nursery, silent), Names([PUBLIC], ["127.0.0.1"])
    await public_only(below, names).connect("a.test", 443)
    assert below.asked == [(PUBLIC, 443)]
    assert names.asked == [("a.test", 443)]
    nursery.cancel_scope.cancel()


async def test_private_addresses_among_others_are_left_out(nursery: trio.Nursery) -> None:
    below = MemoryNetwork(nursery, silent)
    names = Names(["10.0.0.1", "::1", PUBLIC])
    await public_only(below, names).connect("a.test", 80)
    assert below.asked == [(PUBLIC, 80)]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("found", [[], ["127.0.0.1"], ["::ffff:169.254.169.254", "fe80::1%2"]])
async def test_a_name_without_a_public_address_is_refused_unconnected(
    nursery: trio.Nursery, found: list[str]
) -> None:
    below = MemoryNetwork(nursery, silent)
    with pytest.raises(AddressRefused):
        await public_only(below, Names(found)).connect("a.test", 80)
    assert below.asked == []


async def test_allowed_networks_are_connected_to(nursery: trio.Nursery) -> None:
    below = MemoryNetwork(nursery, silent)
    guarded = GuardedNetwork(
        for_strangers([ip_network("127.0.0.0/8")]), network=below, resolve=Names(["127.0.0.1"])
    )
    await guarded.connect("localhost", 80)
    assert below.asked == [("127.0.0.1", 80)]
    nursery.cancel_scope.cancel()


async def test_the_next_address_is_tried_where_one_does_not_answer(nursery: trio.Nursery) -> None:
    below = MemoryNetwork(nursery, silent)
    below.refuse = ConnectionRefusedError()
    many = [f"8.8.8.{n}" for n in range(1, 9)]
    with pytest.raises(ConnectionRefusedError):
        await public_only(below, Names(many)).connect("a.test", 80)
    assert [host for host, _ in below.asked] == many[:MAX_ADDRESSES]


async def test_dead_addresses_share_the_time_there_is(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    below = MemoryNetwork(nursery, silent)
    below.connect_delay_s = 60
    started_s = trio.current_time()
    with pytest.raises(trio.TooSlowError), trio.fail_after(4):
        await public_only(below, Names([PUBLIC, OTHER])).connect("a.test", 80)
    assert trio.current_time() - started_s == pytest.approx(4)
    assert len(below.asked) == 2


async def test_no_address_is_tried_once_the_time_is_over(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    below, names = MemoryNetwork(nursery, silent), Names([PUBLIC])
    names.delay_s = 60
    with pytest.raises(trio.TooSlowError), trio.fail_after(4):
        await public_only(below, names).connect("a.test", 80)
    assert below.asked == []


@pytest.mark.parametrize("failure", [socket.gaierror(-2, "unknown"), UnicodeError("too long")])
async def test_a_name_that_does_not_resolve_is_no_connection(
    nursery: trio.Nursery, failure: Exception
) -> None:
    guarded = GuardedNetwork(
        for_strangers(), network=MemoryNetwork(nursery, silent), resolve=Names(failure)
    )
    with pytest.raises(type(failure)):
        await guarded.connect("a.test", 80)


@pytest.mark.parametrize("spelling", ["127.0.0.1", "2130706433", "0x7f.1", "017700000001"])
async def test_numbers_in_odd_spellings_are_seen_for_what_they_are(spelling: str) -> None:
    assert await resolve(spelling, 80) == ["127.0.0.1"]
    with pytest.raises(AddressRefused):
        await GuardedNetwork(for_strangers()).connect(spelling, 9)


# --- on behalf of endpoints


def for_operators(below: MemoryNetwork, names: Names) -> GuardedNetwork:
    ours = {"127.0.0.1", "10.0.0.9"}
    listener = Listener("0.0.0.0", 32768, lambda address: str(address) in ours)
    return GuardedNetwork(for_endpoints(listener), network=below, resolve=names)


@pytest.mark.parametrize(
    "found", ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "fd12::1", PUBLIC]
)
async def test_endpoints_may_be_anywhere_a_server_can_be(nursery: trio.Nursery, found: str) -> None:
    below = MemoryNetwork(nursery, silent)
    await for_operators(below, Names([found])).connect("gpu.lan", 80)
    assert below.asked == [(found, 80)]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("169.254.169.254", "a link-local address, where clouds keep their metadata"),
        ("fe80::1%2", "a link-local address"),
        ("10.0.0.9", "where llmlb itself listens"),
        ("eth0", "no IP address"),
    ],
)
async def test_an_endpoint_where_none_can_be_is_refused_with_the_reason(
    nursery: trio.Nursery, found: str, said: str
) -> None:
    below = MemoryNetwork(nursery, silent)
    with pytest.raises(AddressRefused) as refused:
        await for_operators(below, Names([found])).connect("gpu.lan", 32768)
    assert str(refused.value) == f"llmlb does not connect to gpu.lan ({found}): that is {said}."
    assert below.asked == []


async def test_a_name_without_any_address_is_refused_in_its_own_words(
    nursery: trio.Nursery,
) -> None:
    below = MemoryNetwork(nursery, silent)
    with pytest.raises(AddressRefused, match=r"^gpu\.lan has no address\.$"):
        await for_operators(below, Names([])).connect("gpu.lan", 80)


async def test_of_several_addresses_only_the_good_ones_are_connected_to(
    nursery: trio.Nursery,
) -> None:
    below = MemoryNetwork(nursery, silent)
    below.refuse = ConnectionRefusedError()
    names = Names(["169.254.169.254", "10.0.0.1", "::ffff:169.254.1.1", "127.0.0.1", "10.0.0.2"])
    with pytest.raises(ConnectionRefusedError):
        await for_operators(below, names).connect("gpu.lan", 32768)
    assert below.asked == [("10.0.0.1", 32768), ("10.0.0.2", 32768)]


@pytest.mark.parametrize(
    "spelling",
    ["169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518"],
)
async def test_metadata_is_refused_however_its_address_is_spelled(spelling: str) -> None:
    with pytest.raises(AddressRefused, match=r"169\.254\.169\.254.* a link-local address"):
        await GuardedNetwork(for_endpoints()).connect(spelling, 80)


# --- several addresses, one beside the other


class Roads(MemoryNetwork):
    """A network on which some addresses take their time."""

    def __init__(self, nursery: trio.Nursery, **delays_s: float) -> None:
        super().__init__(nursery, silent)
        self.delays_s = delays_s

    async def connect(self, host: str, port: int) -> MemoryByteStream:
        self.connect_delay_s = self.delays_s[host]
        return await super().connect(host, port)


class Gate(MemoryNetwork):
    """A network on which all connections come about in one moment."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.gate = trio.Event()

    async def open_after(self, after_s: float) -> None:
        await trio.sleep(after_s)
        self.gate.set()

    async def _reach(self, host: str) -> Any:
        await self.gate.wait()
        return self.serve, None


async def test_a_dead_address_costs_the_others_a_moment_only(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    below = Roads(nursery, **{PUBLIC: 60, OTHER: 0.1})
    started_s = trio.current_time()
    await public_only(below, Names([PUBLIC, OTHER])).connect("a.test", 80)
    assert trio.current_time() - started_s == pytest.approx(HEAD_START_S + 0.1)
    nursery.cancel_scope.cancel()


async def test_without_a_limit_the_first_to_answer_is_waited_for(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    below = Roads(nursery, **{PUBLIC: 600, OTHER: 3600})
    await public_only(below, Names([PUBLIC, OTHER])).connect("a.test", 80)
    assert trio.current_time() == pytest.approx(600)
    nursery.cancel_scope.cancel()


async def test_of_two_that_answer_in_one_moment_one_is_closed(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    below = Gate(nursery, silent)
    async with trio.open_nursery() as meanwhile:
        meanwhile.start_soon(below.open_after, 1)
        await public_only(below, Names([PUBLIC, OTHER])).connect("a.test", 80)
    assert len(below.connections) == 2
    assert len([side for side in below.connections if side.closed_at is None]) == 1
    nursery.cancel_scope.cancel()


async def test_an_address_whose_turn_comes_too_late_is_not_tried(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    below = Roads(nursery, **{PUBLIC: 60, OTHER: 60})
    with pytest.raises(trio.TooSlowError), trio.fail_after(0.2):
        await public_only(below, Names([PUBLIC, OTHER])).connect("a.test", 80)
    assert trio.current_time() == pytest.approx(0.2)
    assert len(below.asked) == 1


@pytest.mark.parametrize("after_s", [0.1, HEAD_START_S, 0.9, 1, 1.1])
async def test_whoever_gives_up_meanwhile_leaves_no_connection_behind(
    nursery: trio.Nursery, autojump_clock: MockClock, after_s: float
) -> None:
    below = Roads(nursery, **{PUBLIC: 1 + HEAD_START_S, OTHER: 1 - HEAD_START_S})
    stream = None
    with trio.move_on_after(after_s):
        stream = await public_only(below, Names([PUBLIC, OTHER])).connect("a.test", 80)
    left_open = [side for side in below.connections if side.closed_at is None]
    assert len(left_open) == (stream is not None)
    nursery.cancel_scope.cancel()
