"""Which addresses may be connected to: for strangers public ones, for operators any server's."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE = IPv6Network("::/96")

_NO_SERVER: tuple[tuple[Network, str], ...] = (
    (IPv4Network("169.254.0.0/16"), "a link-local address, where clouds keep their metadata"),
    (IPv6Network("fe80::/10"), "a link-local address"),
    # Clouds also answer for them at addresses that look like any other. The first is Amazon's
    # whole network of such services: one of them tells of the machine, another one hands out keys.
    (IPv6Network("fd00:ec2::/32"), "an address of a cloud's own services"),
    (IPv6Network("fd20:ce::254/128"), "an address of a cloud's own services"),  # Google
    (IPv4Network("100.100.100.200/32"), "an address of a cloud's own services"),  # Alibaba
    (IPv4Network("168.63.129.16/32"), "an address of a cloud's own services"),  # Azure
    (IPv4Network("192.0.0.192/32"), "an address of a cloud's own services"),  # Oracle
    (IPv4Network("0.0.0.0/8"), "no address of a server"),
    (IPv4Network("255.255.255.255/32"), "the broadcast address"),
    (IPv4Network("224.0.0.0/4"), "a multicast address"),
    (IPv6Network("ff00::/8"), "a multicast address"),
)


def may_be_fetched_from(text: str, allowed: Sequence[Network] = ()) -> bool:
    """Whether *text* (an address as the resolver gives it) is public, or in one of *allowed*."""
    try:
        address = meant(ip_address(text))
    except ValueError:
        return False
    if any(address in network for network in allowed if network.version == address.version):
        return True
    return is_public(address) and why_no_endpoint(address) is None


def meant(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for (mapped, 6to4, NAT64), else itself."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return inner
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def group_of(text: str | None) -> str | None:
    """Whom *text* stands for: an address of IPv4, or a /64 of IPv6, in which one host may have any.

    What is no address stands for itself.
    """
    if text is None or ":" not in text:
        return text
    try:
        address = IPv6Address(text.partition("/")[0].partition("%")[0])
    except ValueError:
        return text
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address, 64), strict=False))


def is_public(address: Address) -> bool:
    """Whether anybody on the internet could reach it, so that fetching it opens no door."""
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False  # more than ipaddress itself rules out: IPv4-compatible and site-local ones
    return address.is_global and not address.is_multicast and not address.is_reserved


def why_no_endpoint(address: Address) -> str | None:
    """What *address* is, in half a sentence, if no inference server may be there; else None.

    Loopback and private networks are where such servers are at home.
    """
    plain = meant(address)
    for network, what in _NO_SERVER:
        if network.version == plain.version and plain in network:
            return what
    if plain in _IPV4_COMPATIBLE and not plain.is_loopback:
        return "no address of a server"
    return None


def host_and_port(base_url: str) -> tuple[str, int]:
    """The host of a normalised URL, without brackets, and its port."""
    split = urlsplit(base_url)
    port = split.port or (443 if split.scheme == "https" else 80)
    return split.hostname or "", port


def literal(host: str) -> Address | None:
    """The address that *host* spells, in one of all the ways the system's resolver reads."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))  # octal, hexadecimal, fewer than four parts
    except (OSError, ValueError):
        return None


def refuse_no_endpoint(base_url: str) -> str:
    """*base_url* again. Raises ValueError if its host is an address where no endpoint may be.

    A name may lead there as well: that is seen when it is connected to.
    """
    address = literal(host_and_port(base_url)[0])
    what = None if address is None else why_no_endpoint(address)
    if what is not None:
        raise ValueError(f"The URL may not lead to {address}: that is {what}.")
    return base_url
