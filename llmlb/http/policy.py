"""Who is served at all, decided the same way for every face."""

from __future__ import annotations

import ipaddress
import math
import re
import uuid
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from llmlb.errors import HeadersTooLarge, InvalidRequest, LoopDetected, SetupRequired
from llmlb.http.upstream.client import INSTANCE_HEADER

_SANE_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")

OWN_TIME_HEADER = "x-llmlb-timeout-s"
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")

_CARRIED = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

HEADER_BLOCK_LIMIT_BYTES = 32 * 1024

_FORWARDING = re.compile(r"forwarded|x-forwarded-.*|x-real-ip|via")
"""Any of these says that the real client is somebody else than the peer."""


def request_id_of(headers: Mapping[str, str]) -> str:
    """The client's own request id, if it is a sane token, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex


def refuse_large_head(target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raise HeadersTooLarge for a target and headers of more than 32 KiB, on the wire.

    *headers* are as they were sent: each time that a name is repeated, it counts again.
    """
    size_bytes = len(target) + sum(
        len(name) + len(value) + len(": \r\n") for name, value in headers
    )
    if size_bytes > HEADER_BLOCK_LIMIT_BYTES:
        raise HeadersTooLarge(
            f"The request's target and headers are larger than {HEADER_BLOCK_LIMIT_BYTES} bytes."
        )


def has_two_lengths(names: Collection[str]) -> bool:
    """Whether headers of these names tell the body's length in two ways: a smuggler's trick."""
    return "content-length" in names and "transfer-encoding" in names


def refuse_two_lengths(headers: Mapping[str, str]) -> None:
    """Raise InvalidRequest if the body's length is told in two ways."""
    if has_two_lengths(headers):
        raise InvalidRequest("A request has either Content-Length or Transfer-Encoding, not both.")


def refuse_control_characters(headers: Mapping[str, str]) -> None:
    """Raise InvalidRequest for a header that no request may carry on to an endpoint.

    It would not be sent, and every endpoint that was to get it would look broken.
    """
    if _CARRIED.fullmatch("".join(headers.values())):
        return
    for name, value in headers.items():
        if not _CARRIED.fullmatch(value):
            raise InvalidRequest(f"The header '{name[:80]}' holds a control character.")


def own_time_s(headers: Mapping[str, str]) -> float:
    """How long the client gives its request, by `x-llmlb-timeout-s`; infinite if it does not say.

    Raises InvalidRequest.
    """
    said = headers.get(OWN_TIME_HEADER)
    if said is None:
        return math.inf
    if not _SECONDS.fullmatch(said) or not float(said):
        raise InvalidRequest(
            f"'{OWN_TIME_HEADER}' must be a number of seconds above 0, like 30 or 2.5.",
            param=OWN_TIME_HEADER,
        )
    return float(said)


def refuse_strangers(
    local: str | None, peer: str | None, headers: Mapping[str, str], *, invited: bool = False
) -> None:
    """Let only this machine itself in, while that is all that a request has to show.

    Both ends of the connection have to be loopback, nobody may have forwarded it, and no page
    of another site may have sent it through a browser on this machine, unless that page is
    *invited*. Raises SetupRequired.
    """
    forwarded = any(_FORWARDING.fullmatch(name) for name in headers)
    foreign = _from_elsewhere(headers) and not invited
    if is_loopback(local) and is_loopback(peer) and not (forwarded or foreign):
        return
    raise SetupRequired(
        "Without users and keys this balancer serves only the machine it runs on: make the first "
        "administrator, by the link that was printed at its start."
    )


def _from_elsewhere(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that the page behind the request is not this machine's."""
    if headers.get("sec-fetch-site") == "cross-site":
        return True
    origin = headers.get("origin")
    if origin is not None and not _is_this_machine(origin):
        return True
    # A page whose name has been made to lead here is of one origin with us, and reads without an
    # Origin. The name is all that gives it away; programs may use any.
    browser = "mozilla/" in headers.get("user-agent", "").lower()
    return browser and not _is_this_machine(f"//{headers.get('host', '')}")


def _is_this_machine(url: str) -> bool:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return False
    return host == "localhost" or is_loopback(host)


def refuse_loops(headers: Mapping[str, str], instance_id: str) -> None:
    """Raise LoopDetected if the request has passed this balancer before."""
    passed = (part.strip() for part in headers.get(INSTANCE_HEADER, "").split(","))
    if instance_id in passed:
        raise LoopDetected(
            "The request came back to the balancer that sent it: an endpoint's URL leads here."
        )


@lru_cache(maxsize=4096)
def is_loopback(address: str | None) -> bool:
    """Whether *address* can only be this machine; what is no address is not."""
    try:
        parsed = ipaddress.ip_address((address or "").split("%")[0])
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback
