"""What may be connected to on whose behalf: for endpoints any server but ours, else the public."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address

from llmlb.addresses import Network, may_be_fetched_from, why_no_endpoint
from llmlb.http.upstream.listener import Listener

WhyNot = Callable[[str, int], str | None]
"""Of an address as the resolver gives it, and a port: what it is, if that speaks against it."""


def for_endpoints(listener: Listener | None = None) -> WhyNot:
    """Operators name endpoints, so their own networks are as good as the internet."""

    def why_not(text: str, port: int) -> str | None:
        try:
            address = ip_address(text)
        except ValueError:
            return "no IP address"
        return why_no_endpoint(address) or _why_not_own(text, port, listener)

    return why_not


def for_strangers(allowed: Sequence[Network] = (), listener: Listener | None = None) -> WhyNot:
    """Clients may name any URL, so only what is public anyway, and what the operator allows."""

    def why_not(text: str, port: int) -> str | None:
        if not may_be_fetched_from(text, allowed):
            return "not public"
        return _why_not_own(text, port, listener)

    return why_not


def _why_not_own(text: str, port: int, listener: Listener | None) -> str | None:
    if listener is not None and listener.is_at(ip_address(text), port):
        return "where llmlb itself listens"
    return None
