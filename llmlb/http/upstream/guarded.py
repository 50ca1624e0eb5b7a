"""How a host is connected to without being led to addresses that are out of bounds.

The name is resolved here, its addresses are checked, and a checked one is connected to: no second
resolution could give another answer. TLS still verifies the name.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import httpcore
import trio

from llmlb.http.upstream.faults import AddressRefused
from llmlb.http.upstream.rules import WhyNot

MAX_ADDRESSES = 4
"""Of one name, how many are tried."""

HEAD_START_S = 0.25
"""So long an address has before the next one is tried beside it (RFC 8305)."""

CLOSE_WITHIN_S = 1.0

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
Connect = Callable[[str], Awaitable[httpcore.AsyncNetworkStream]]
"""To an address, within the time there is."""


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of *host*, as the system resolves it. Raises OSError, UnicodeError."""
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Connects by name, but only to addresses that nothing speaks against."""

    def __init__(
        self,
        why_not: WhyNot,
        *,
        network: httpcore.AsyncNetworkBackend | None = None,
        resolve: Resolve = resolve,
    ) -> None:
        self._why_not = why_not
        self._network = network or httpcore.TrioBackend()
        self._resolve = resolve

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109, RUF100 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the checked address that answers first. Raises AddressRefused."""
        ends_at = trio.current_time() + (float("inf") if timeout is None else timeout)
        addresses = await self._checked(host, port, ends_at)

        async def connect(address: str) -> httpcore.AsyncNetworkStream:
            left_s = None if timeout is None else max(0.0, ends_at - trio.current_time())
            return await self._network.connect_tcp(
                address, port, left_s, local_address, socket_options
            )

        if len(addresses) == 1:
            return await connect(addresses[0])
        return await _Race(connect).run(addresses)

    async def _checked(self, host: str, port: int, ends_at: float) -> list[str]:
        try:
            with trio.fail_at(ends_at):
                found = await self._resolve(host, port)
        except trio.TooSlowError as error:
            raise httpcore.ConnectTimeout from error
        except (OSError, UnicodeError) as error:
            failure = httpcore.ConnectError()
            failure.__context__ = error  # the pool above keeps only the context
            raise failure from error
        judged = {address: self._why_not(address, port) for address in found}
        good = [address for address, reason in judged.items() if reason is None]
        if not good:
            raise AddressRefused(_refusal(host, judged))
        return good[:MAX_ADDRESSES]


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
        self._streams: list[httpcore.AsyncNetworkStream] = []
        self._failures: list[Exception] = []

    async def run(self, addresses: Sequence[str]) -> httpcore.AsyncNetworkStream:
        """The first connection that stands. Raises ConnectError, ConnectTimeout."""
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
            with trio.move_on_after(CLOSE_WITHIN_S, shield=True):
                await self._close_all_but(winner)
        if winner is None:
            raise self._failures[0]
        return winner

    async def _try(self, address: str, failed: trio.Event, others: trio.CancelScope) -> None:
        try:
            stream = await self._connect(address)
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            self._failures.append(error)
            failed.set()
        else:
            self._streams.append(stream)  # a second one may have answered in the same moment
            others.cancel()

    async def _close_all_but(self, winner: httpcore.AsyncNetworkStream | None) -> None:
        for stream in self._streams:
            if stream is not winner:
                await stream.aclose()
