"""Which headers go to an endpoint, and who may set which of them."""

from __future__ import annotations

import re

from llmlb import __version__
from llmlb.headers import CONNECTION_HEADERS
from llmlb.http.upstream.client import INSTANCE_HEADER, Headers
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.types import Endpoint

RawHeaders = list[tuple[bytes, bytes]]

CREDENTIALS = frozenset({"authorization", "cookie"})
"""A client's own never reach an endpoint, whoever forgot to drop them."""

OURS = frozenset({"accept-encoding", INSTANCE_HEADER})
"""Not even the operator's extra headers change these: streams are read, and loops are seen."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def outgoing_headers(endpoint: Endpoint, headers: Headers, instance_id: str) -> RawHeaders:
    """The headers of one request to *endpoint*, as bytes, without host and content-length.

    The endpoint's extra headers win over ours, ours win over the caller's. Raises UpstreamFault
    that names a header which HTTP cannot carry, but never its value.
    """
    passed = [(name.lower(), value) for name, value in headers]
    chain = [value for name, value in passed if name == INSTANCE_HEADER and value]
    ours = {
        "user-agent": f"llmlb/{__version__}",
        "accept-encoding": "identity",
        INSTANCE_HEADER: ", ".join([*chain, instance_id]),
    }
    if endpoint.api_key is not None:
        ours["authorization"] = f"Bearer {endpoint.api_key}"
    extra = [
        (name.lower(), value)
        for name, value in endpoint.extra_headers
        if name.lower() not in CONNECTION_HEADERS | OURS
    ]
    set_by_extra = {name for name, _ in extra}
    not_passed = CONNECTION_HEADERS | CREDENTIALS | ours.keys() | set_by_extra
    kept = [
        *(pair for pair in passed if pair[0] not in not_passed),
        *(pair for pair in ours.items() if pair[0] not in set_by_extra),
        *extra,
    ]
    return [_encoded(name, value) for name, value in kept]


def _encoded(name: str, value: str) -> tuple[bytes, bytes]:
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        what = "API key" if name == "authorization" else f"header {name[:80]!r}"
        raise UpstreamFault(
            FaultKind.UNREACHABLE,
            f"The endpoint's {what} holds a character that HTTP does not allow.",
        )
    # A value may not begin or end with white space; nobody means the blank that was pasted along.
    return name.encode("ascii"), value.strip(" \t").encode("latin-1")
