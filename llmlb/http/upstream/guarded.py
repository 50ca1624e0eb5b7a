"""How a URL that a client names is fetched without lending the client our place in the network.

The name is resolved here, its addresses are checked, and a checked one is connected to: no second
resolution could give another answer. TLS still verifies the name.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence

import httpcore
import trio

from llmlb.http.upstream.addresses import Network, may_be_fetched_from

MAX_ADDRESSES = 4
"""Of one name, how many are tried."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class AddressRefused(Exception):
    """The name leads only to addresses that may not be fetched from."""


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of *host*, as the system resolves it. Raises OSError, UnicodeError."""
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Connects by name, but only to addresses that may be fetched from."""

    def __init__(
        self,
        allowed: Sequence[Network] = (),
        *,
        network: httpcore.AsyncNetworkBackend | None = None,
        resolve: Resolve = resolve,
    ) -> None:
        self._allowed = tuple(allowed)
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
        """Connect to the first checked address that answers. Raises AddressRefused."""
        ends_at = trio.current_time() + (float("inf") if timeout is None else timeout)
        addresses = await self._checked(host, port, ends_at)
        failure: Exception = httpcore.ConnectError("no address")
        for number, address in enumerate(addresses):
            left_s = ends_at - trio.current_time()
            if left_s <= 0:
                raise httpcore.ConnectTimeout
            try:
                return await self._network.connect_tcp(
                    address,
                    port,
                    # A dead address must not eat the time of those after it.
                    None if timeout is None else left_s / (len(addresses) - number),
                    local_address,
                    socket_options,
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

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
        checked = [a for a in dict.fromkeys(found) if may_be_fetched_from(a, self._allowed)]
        if not checked:
            raise AddressRefused(host)
        return checked[:MAX_ADDRESSES]
