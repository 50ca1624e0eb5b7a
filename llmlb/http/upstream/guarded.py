"""How a host is connected to without being led to addresses that are out of bounds.

The name is resolved here, its addresses are checked, and a checked one is connected to: no second
resolution could give another answer. TLS still verifies the name.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence

import trio

from llmlb.http.streams.byte_stream import ByteStream
from llmlb.http.upstream.faults import AddressRefused
from llmlb.http.upstream.network import Network, SocketNetwork
from llmlb.http.upstream.rules import WhyNot

MAX_ADDRESSES = 4
"""Of one name, how many are tried."""

HEAD_START_S = 0.25
"""So long an address has before the next one is tried beside it (RFC 8305)."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
Connect = Callable[[str], Awaitable[ByteStream]]
"""To an address."""


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of *host*, as the system resolves it. Raises OSError, UnicodeError."""
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class GuardedNetwork:
    """Connects by name, but only to addresses that nothing speaks against."""

    def __init__(
        self, why_not: WhyNot, *, network: Network | None = None, resolve: Resolve = resolve
    ) -> None:
        self._why_not = why_not
        self._network = network or SocketNetwork()
        self._resolve = resolve

    async def connect(self, host: str, port: int) -> ByteStream:
        """Connect to the checked address that answers first. See Network; raises AddressRefused."""
        judged = {
            address: self._why_not(address, port) for address in await self._resolve(host, port)
        }
        good = [address for address, reason in judged.items() if reason is None]
        if not good:
            raise AddressRefused(_refusal(host, judged))
        if len(good) == 1:
            return await self._network.connect(good[0], port)
        race = _Race(lambda address: self._network.connect(address, port))
        return await race.run(good[:MAX_ADDRESSES])


def _refusal(host: str, judged: Mapping[str, str | None]) -> str:
    if not judged:
        return f"{host[:200]} has no address."
    address, reason = next(iter(judged.items()))
    place = address if address == host else f"{host[:200]} ({address})"
    return f"llmlb does not connect to {place}: that is {reason}."


class _Race:
    """Several addresses of one host, tried one beside the other until one of them answers.

    A dead address must not eat the time of those after it.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._streams: list[ByteStream] = []
        self._failures: list[OSError] = []

    async def run(self, addresses: Sequence[str]) -> ByteStream:
        """The first connection that stands. Raises OSError."""
        winner = None
        try:
            async with trio.open_nursery() as nursery:
                for address in addresses:
                    failed = trio.Event()
                    nursery.start_soon(self._try, address, failed, nursery.cancel_scope)
                    with trio.move_on_after(HEAD_START_S):
                        await failed.wait()
            winner = self._streams[0] if self._streams else None
        finally:
            for stream in self._streams:
                if stream is not winner:
                    stream.close()
        if winner is None:
            raise self._failures[0]
        return winner

    async def _try(self, address: str, failed: trio.Event, others: trio.CancelScope) -> None:
        try:
            stream = await self._connect(address)
        except OSError as error:
            self._failures.append(error)
            failed.set()
        else:
            self._streams.append(stream)  # a second one may have answered in the same moment
            others.cancel()
