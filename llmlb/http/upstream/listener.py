"""Which addresses lead back to this very process, so that it never asks itself."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from llmlb.addresses import Address, host_and_port, literal, meant

_ANY_PORT = 9
"""Nothing is sent there."""


def is_of_this_machine(address: Address) -> bool:
    """Whether *address* is one of this machine's own. Sends nothing, and does not block.

    To its own addresses a machine talks from just these. The interfaces could be listed as well,
    but not by the standard library.
    """
    if address.is_loopback:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect((str(address), _ANY_PORT))  # of a datagram socket: chooses a route
            here: str = asking.getsockname()[0]
        except OSError:
            return False  # no way leads there
    return ip_address(here) == address


@dataclass(frozen=True, slots=True)
class Listener:
    """Where this process listens."""

    host: str
    """As the socket says: an address, perhaps that of all interfaces."""
    port: int
    is_ours: Callable[[Address], bool] = is_of_this_machine

    @property
    def url(self) -> str:
        """How to open it on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 # nosec B104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def is_at(self, address: Address, port: int) -> bool:
        """Whether a connection to *address* would come in here."""
        if port != self.port:
            return False
        bound, plain = ip_address(self.host), meant(address)
        return self.is_ours(plain) if bound.is_unspecified else plain == meant(bound)


def refuse_own(base_url: str, listener: Listener | None) -> None:
    """Raise ValueError, in a sentence for people, if the host of *base_url* is *listener*'s.

    A name may lead there as well: that is seen when it is connected to.
    """
    host, port = host_and_port(base_url)
    address = literal(host)
    if listener is not None and address is not None and listener.is_at(address, port):
        raise ValueError(f"The URL may not lead to {address}, port {port}: llmlb itself is there.")
