"""Which headers go to an endpoint, and who may set which of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llmlb import __version__
from llmlb.headers import CONNECTION_HEADERS
from llmlb.http.upstream.client import INSTANCE_HEADER, Headers
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.types import Endpoint

CREDENTIALS = frozenset({"authorization", "cookie"})
"""A client's own never reach an endpoint, whoever forgot to drop them."""

OURS = frozenset({"accept-encoding", INSTANCE_HEADER})
"""Not even the operator's extra headers change these: streams are read, and loops are seen."""

MAX_NAMES = 128
"""Of headers, so many are remembered per endpoint."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_CONTROLS = bytes({*range(32), 127} - {ord("\t")})


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
        own = [_line(name, value) for name, value in kept]
        self._own = _encoded([*own, ""])
        self._instance_id = instance_id
        self._instance = _line(INSTANCE_HEADER, instance_id)
        self._beginnings: dict[str, str] = {}
        self._not_passed = CONNECTION_HEADERS | CREDENTIALS | ours.keys() | set_by_extra | OURS

    def lines(self, passed: Headers) -> bytes:
        """All lines but host and content-length of a request whose caller sets *passed*.

        The last one is without its end. The endpoint's extra headers win over ours, and ours over
        the caller's. Raises as above.
        """
        lines, chain = [], []
        beginnings = self._beginnings
        for name, value in passed:
            beginning = beginnings.get(name)
            if beginning is None:
                beginning = self._beginning(name)
            if beginning:
                # A value may not begin or end with white space; nobody means the blank that was
                # pasted along.
                lines.append(beginning + value.strip(" \t"))
            elif value and name.lower() == INSTANCE_HEADER:
                chain.append(value)
        if chain:
            lines.append(_line(INSTANCE_HEADER, ", ".join([*chain, self._instance_id])))
        else:
            lines.append(self._instance)
        return self._own + _encoded(lines)

    def _beginning(self, name: str) -> str:
        """Of the line that a caller sets by *name*; empty if callers do not set it."""
        if len(self._beginnings) >= MAX_NAMES:
            self._beginnings.clear()
        lowered = name.lower()
        found = "" if lowered in self._not_passed else _beginning(lowered)
        self._beginnings[name] = found
        return found


def _line(name: str, value: str) -> str:
    return _beginning(name) + value.strip(" \t")


def _beginning(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise _not_allowed(name)
    return f"{name}: "


def _encoded(lines: Sequence[str]) -> bytes:
    """*lines* one below the other, if there is nothing in them that would end one early."""
    for line in lines:
        if not line.isascii() and not _VALUE.fullmatch(line):
            raise _not_allowed(line.partition(":")[0])
    encoded = "\r\n".join(lines).encode("latin-1")
    # An expression for each would say the same, and take three times as long.
    if len(encoded) - len(encoded.translate(None, _CONTROLS)) != 2 * (len(lines) - 1):
        broken = next(line for line in lines if not _VALUE.fullmatch(line))
        raise _not_allowed(broken.partition(":")[0])
    return encoded


def _not_allowed(name: str) -> UpstreamFault:
    what = "API key" if name == "authorization" else f"header {name[:80]!r}"
    return UpstreamFault(
        FaultKind.UNREACHABLE,
        f"The endpoint's {what} holds a character that HTTP does not allow.",
    )
