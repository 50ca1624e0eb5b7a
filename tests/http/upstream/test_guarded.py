"""A network that connects only to addresses that it has checked."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_network

import httpcore
import pytest
import trio
from trio.testing import MockClock

from llmlb.http.upstream.guarded import MAX_ADDRESSES, AddressRefused, GuardedNetwork, resolve
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


async def test_the_checked_address_is_the_one_connected_to(nursery: trio.Nursery) -> None:
    # A second resolution, which would lead home, is never asked for.
    below, names = MemoryNetwork(nursery, silent), Names([PUBLIC], ["127.0.0.1"])
    await GuardedNetwork(network=below, resolve=names).connect_tcp("a.test", 443, timeout=5)
    assert below.asked == [(PUBLIC, 443)]
    assert names.asked == [("a.test", 443)]
    nursery.cancel_scope.cancel()


async def test_private_addresses_among_others_are_left_out(nursery: trio.Nursery) -> None:
    below = MemoryNetwork(nursery, silent)
    names = Names(["10.0.0.1", "::1", PUBLIC])
    await GuardedNetwork(network=below, resolve=names).connect_tcp("a.test", 80)
    assert below.asked == [(PUBLIC, 80)]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("found", [[], ["127.0.0.1"], ["::ffff:169.254.169.254", "fe80::1%2"]])
async def test_a_name_without_a_public_address_is_refused_unconnected(
    nursery: trio.Nursery, found: list[str]
) -> None:
    below = MemoryNetwork(nursery, silent)
    with pytest.raises(AddressRefused):
        await GuardedNetwork(network=below, resolve=Names(found)).connect_tcp("a.test", 80)
    assert below.asked == []


async def test_allowed_networks_are_connected_to(nursery: trio.Nursery) -> None:
    below = MemoryNetwork(nursery, silent)
    guarded = GuardedNetwork(
        [ip_network("127.0.0.0/8")], network=below, resolve=Names(["127.0.0.1"])
    )
    await guarded.connect_tcp("localhost", 80)
    assert below.asked == [("127.0.0.1", 80)]
    nursery.cancel_scope.cancel()


async def test_the_next_address_is_tried_where_one_does_not_answer(nursery: trio.Nursery) -> None:
    below = MemoryNetwork(nursery, silent)
    below.refuse = ConnectionRefusedError()
    many = [f"8.8.8.{n}" for n in range(1, 9)]
    with pytest.raises(httpcore.ConnectError):
        await GuardedNetwork(network=below, resolve=Names(many)).connect_tcp("a.test", 80, 5)
    assert [host for host, _ in below.asked] == many[:MAX_ADDRESSES]


async def test_dead_addresses_share_the_time_there_is(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    below = MemoryNetwork(nursery, silent)
    below.connect_delay_s = 60
    started_s = trio.current_time()
    with pytest.raises(httpcore.ConnectTimeout):
        await GuardedNetwork(network=below, resolve=Names([PUBLIC, OTHER])).connect_tcp(
            "a.test", 80, timeout=4
        )
    assert trio.current_time() - started_s == pytest.approx(4)
    assert len(below.asked) == 2


async def test_no_address_is_tried_once_the_time_is_over(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    below, names = MemoryNetwork(nursery, silent), Names([PUBLIC])
    with pytest.raises(httpcore.ConnectTimeout):
        await GuardedNetwork(network=below, resolve=names).connect_tcp("a.test", 80, timeout=0)
    names.delay_s = 60
    with pytest.raises(httpcore.ConnectTimeout):
        await GuardedNetwork(network=below, resolve=names).connect_tcp("a.test", 80, timeout=4)
    assert below.asked == []


@pytest.mark.parametrize("failure", [socket.gaierror(-2, "unknown"), UnicodeError("too long")])
async def test_a_name_that_does_not_resolve_is_no_connection(
    nursery: trio.Nursery, failure: Exception
) -> None:
    guarded = GuardedNetwork(network=MemoryNetwork(nursery, silent), resolve=Names(failure))
    with pytest.raises(httpcore.ConnectError) as caught:
        await guarded.connect_tcp("a.test", 80)
    assert caught.value.__context__ is failure


@pytest.mark.parametrize("spelling", ["127.0.0.1", "2130706433", "0x7f.1", "017700000001"])
async def test_numbers_in_odd_spellings_are_seen_for_what_they_are(spelling: str) -> None:
    assert await resolve(spelling, 80) == ["127.0.0.1"]
    with pytest.raises(AddressRefused):
        await GuardedNetwork().connect_tcp(spelling, 9, timeout=5)
