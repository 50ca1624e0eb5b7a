"""Which headers go to an endpoint, and who may set which of them."""

from __future__ import annotations

import re
from functools import lru_cache

from llmlb import __version__
from llmlb.headers import CONNECTION_HEADERS
from llmlb.http.upstream.client import INSTANCE_HEADER, Headers
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.types import Endpoint

CREDENTIALS = frozenset({"authorization", "cookie"})
"""A client's own never reach an endpoint, whoever forgot to drop them."""

OURS = frozenset({"accept-encoding", INSTANCE_HEADER})
"""Not even the operator's extra headers change these: streams are read, and loops are seen."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class OutgoingHeaders:
    """The headers of requests to one endpoint; what is its own is written down once."""

    def __init__(self, endpoint: Endpoint, instance_id: str) -> None:
        """Raises UpstreamFault that names a header which HTTP cannot carry, but never its value."""
        ours = {"user-agent": f"llmlb/{__version__}", "accept-encoding": "identity"}
        if endpoint.api_key is not None:
            ours["authorization"] = f"Bearer {endpoint.api_key}"
        extra = [
            (name.lower(), value)
            for name, value in endpoint.extra_headers
            if name.lower() not in CONNECTION_HEADERS | OURS
        ]
        set_by_extra = {name for name, _ in extra}
        kept = [*(pair for pair in ours.items() if pair[0] not in set_by_extra), *extra]
        self._own = b"".join(_line(name, value) for name, value in kept)
        self._instance_id = instance_id
        self._instance = _line(INSTANCE_HEADER, instance_id)
        self._not_passed = CONNECTION_HEADERS | CREDENTIALS | ours.keys() | set_by_extra | OURS

    def lines(self, passed: Headers) -> bytes:
        """All lines, without host and content-length, of a request whose caller sets *passed*.

        The endpoint's extra headers win over ours, ours win over the caller's. Raises as above.
        """
        lines, instance = [self._own], self._instance
        chain: list[str] = []
        for name, value in passed:
            lowered = name.lower()
            if lowered not in self._not_passed:
                lines.append(_line(lowered, value))
            elif lowered == INSTANCE_HEADER and value:
                chain.append(value)
        if chain:
            instance = _line(INSTANCE_HEADER, ", ".join([*chain, self._instance_id]))
        lines.append(instance)
        return b"".join(lines)


def _line(name: str, value: str) -> bytes:
    beginning = _beginning(name)
    if beginning is None or not _VALUE.fullmatch(value):
        what = "API key" if name == "authorization" else f"header {name[:80]!r}"
        raise UpstreamFault(
            FaultKind.UNREACHABLE,
            f"The endpoint's {what} holds a character that HTTP does not allow.",
        )
    # A value may not begin or end with white space; nobody means the blank that was pasted along.
    return b"%s%s\r\n" % (beginning, value.strip(" \t").encode("latin-1"))


@lru_cache(maxsize=256)
def _beginning(name: str) -> bytes | None:
    """Of the line of that header; None if no header can have that name."""
    return f"{name}: ".encode("ascii") if _NAME.fullmatch(name) else None
