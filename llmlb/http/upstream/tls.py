"""Which certificate an endpoint may have: a well-known authority's, its own authority's, any."""

from __future__ import annotations

import ssl
from typing import NamedTuple

import httpx

from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.types import Endpoint


class Trust(NamedTuple):
    """What connections to one endpoint trust."""

    verify: bool
    authorities: str | None
    """PEM; None: the well-known ones, and those that were added to this machine."""

    @classmethod
    def of(cls, endpoint: Endpoint) -> Trust:
        return cls(endpoint.tls_verify, endpoint.ca_certificate)


class Contexts:
    """Owns the one context that most endpoints share; it takes a while to make."""

    def __init__(self, well_known: ssl.SSLContext | None = None) -> None:
        self._well_known = well_known

    def trusting(self, trust: Trust) -> ssl.SSLContext:
        """A context for connections. Raises UpstreamFault if its authorities cannot be read."""
        context = self._trusting(trust)
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _trusting(self, trust: Trust) -> ssl.SSLContext:
        if not trust.verify:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        if trust.authorities is not None:
            return _trusting_only(trust.authorities)
        if self._well_known is None:
            self._well_known = httpx.create_ssl_context(trust_env=False)
            self._well_known.load_default_certs()
        return self._well_known


def _trusting_only(authorities: str) -> ssl.SSLContext:
    # Without VERIFY_X509_STRICT, which Python 3.13 adds to its defaults: authorities that people
    # make for themselves often lack what it asks for.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a server's own certificate will do
    try:
        context.load_verify_locations(cadata=authorities)
    except (ssl.SSLError, ValueError, TypeError):  # a TypeError if it is not ASCII
        raise UpstreamFault(
            FaultKind.UNREACHABLE, "The endpoint's ca_certificate cannot be read: give it anew."
        ) from None
    return context
