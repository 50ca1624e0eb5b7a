"""Which addresses a URL from outside may lead to: public ones, and those the operator allows."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


def may_be_fetched_from(text: str, allowed: Sequence[Network] = ()) -> bool:
    """Whether *text* (an address as the resolver gives it) is public, or in one of *allowed*."""
    try:
        address = meant(ip_address(text))
    except ValueError:
        return False
    if any(address in network for network in allowed if network.version == address.version):
        return True
    return is_public(address)


def meant(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for (mapped, 6to4, NAT64), else itself."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return inner
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def is_public(address: Address) -> bool:
    """Whether anybody on the internet could reach it, so that fetching it opens no door."""
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False  # more than ipaddress itself rules out: IPv4-compatible and site-local ones
    return address.is_global and not address.is_multicast and not address.is_reserved
