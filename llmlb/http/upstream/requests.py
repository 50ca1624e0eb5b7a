"""The first bytes of a request: its line and its headers, for whatever URL an endpoint has."""

from __future__ import annotations

import re
from typing import NamedTuple

import httpx

from llmlb.http.upstream.client import Headers
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.http.upstream.outgoing import OutgoingHeaders
from llmlb.types import Endpoint

_METHODS = {name: name.encode() for name in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")}
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
"""With these it is said that there is no body."""

MAX_PATHS = 64
"""Of an endpoint, so many are remembered."""

_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9_-]+)+")
"""Stands for itself in a URL, whatever stands before it."""


class Origin(NamedTuple):
    """Where a base URL leads."""

    tls: bool
    host: str
    """A name in ASCII, or an address without brackets."""
    port: int
    authority: bytes
    """For the header `host`."""

    @classmethod
    def of(cls, base_url: str) -> Origin:
        """Raises UpstreamFault."""
        url = _url(base_url)
        host = url.raw_host.decode("ascii")
        port = url.port or {"http": 80, "https": 443}.get(url.scheme, 0)
        if not host or not 0 < port < 65536 or url.scheme not in ("http", "https"):
            raise _not_valid()
        return cls(url.scheme == "https", host, port, url.netloc)


class RequestHeads:
    """Writes the heads of requests to one endpoint."""

    def __init__(self, endpoint: Endpoint, authority: bytes, instance_id: str) -> None:
        """Raises UpstreamFault, as OutgoingHeaders does."""
        self._base_url = endpoint.base_url
        self._before_path = _url(endpoint.base_url + "/x").raw_path[:-2]
        self._host = b" HTTP/1.1\r\nHost: %s\r\n" % authority
        self._targets: dict[str, bytes] = {}
        self._headers = OutgoingHeaders(endpoint, instance_id)

    def head(self, method: str, path: str, headers: Headers, body_bytes: int | None) -> bytes:
        """The head of a request with a body of so many bytes; None: without one.

        Raises UpstreamFault for what HTTP cannot carry; its text holds no value of a header.
        """
        target = self._targets.get(path) or self._target(path)
        if body_bytes is not None:
            length = b"\r\ncontent-length: %d\r\n\r\n" % body_bytes
        else:
            length = b"\r\ncontent-length: 0\r\n\r\n" if method in _WITH_BODY else b"\r\n\r\n"
        lines = self._headers.lines(headers)
        return b"%s %s%s%s%s" % (_METHODS[method], target, self._host, lines, length)

    def _target(self, path: str) -> bytes:
        if not _PLAIN_PATH.fullmatch(path):
            return _url(self._base_url + path).raw_path
        if len(self._targets) >= MAX_PATHS:
            self._targets.clear()
        target = self._targets[path] = self._before_path + path.encode("ascii")
        return target


def _url(text: str) -> httpx.URL:
    try:
        return httpx.URL(text)
    except (httpx.InvalidURL, ValueError):  # a UnicodeError is one
        # The library's own text is not passed on: it quotes what it was given.
        raise _not_valid() from None


def _not_valid() -> UpstreamFault:
    return UpstreamFault(FaultKind.UNREACHABLE, "The endpoint's URL is not valid.")
