"""Where a request comes from, if a proxy that is trusted has passed it on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)

from llmlb.http.downstream import Whence

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def client_address(
    whence: Whence, headers: Mapping[str, str], trusted: Collection[Network]
) -> str | None:
    """The address of the client; None if there is none, as over a Unix socket.

    `X-Forwarded-For` is believed only of peers in *trusted*, and read from its end: the last
    address there that is not trusted is the client's. What stands before it may be made up.
    """
    peer = whence.peer or ""
    if not trusted:
        return _plain(peer)
    address = _address(peer)
    if address is None or not _is_among(address, trusted):
        return _plain(peer)
    for text in reversed(headers.get("x-forwarded-for", "").split(",")):
        said = _address(text.strip())
        if said is None:
            break
        address = said
        if not _is_among(said, trusted):
            break
    return str(address)


def came_securely(whence: Whence, headers: Mapping[str, str], trusted: Collection[Network]) -> bool:
    """Whether the client speaks TLS, with us or with a trusted proxy that says so."""
    peer = _address(whence.peer or "")
    if peer is not None and _is_among(peer, trusted):
        said = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
        if said:
            return said == "https"
    return whence.secure


def _is_among(address: Address, networks: Collection[Network]) -> bool:
    return any(address.version == n.version and address in n for n in networks)


@lru_cache(maxsize=4096)
def _plain(peer: str) -> str | None:
    address = _address(peer)
    return None if address is None else str(address)


def _address(text: str) -> Address | None:
    """An address, perhaps with a port; IPv4 that is written as IPv6 is what it stands for."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
