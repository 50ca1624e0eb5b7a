"""What an endpoint means by a status other than 2xx: its own trouble, or the request's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from llmlb.errors import EndpointRefusal, OpenAIError
from llmlb.http.engines import is_request_fault
from llmlb.http.openai.answer import read_error
from llmlb.http.upstream.client import UpstreamResponse
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.http.upstream.quoting import without_secrets
from llmlb.types import Endpoint

ERROR_LIMIT_BYTES = 64 * 1024
"""As much of an endpoint's error response is read."""

RETRY_AFTER_LIMIT_S = 24 * 3600
"""Whoever says more (or infinity) is not believed."""

_ABOUT_THE_ENDPOINT = frozenset({401, 403, 404, 405, 407, 408, 421, 425, 429})
"""Those 4xx that say something of the endpoint; all others are about the request."""

_USAGE = ("stream_options", "include_usage")


class UsageRefused(Exception):
    """The endpoint does not know `stream_options`, which the client never sent."""


async def refusal_of(
    response: UpstreamResponse, endpoint: Endpoint, *, added_usage: bool
) -> UpstreamFault | EndpointRefusal | UsageRefused:
    """The error that *response* is; *added_usage*: usage was asked for on our own account.

    Raises UpstreamFault if the body breaks off. The caller bounds the time.
    """
    status = response.status
    said = read_error(status, await _read_up_to(response, ERROR_LIMIT_BYTES))
    said = _without_secrets(said, endpoint)
    if added_usage and status in (400, 422) and _names_usage(said):
        return UsageRefused()
    if status // 100 == 4 and status not in _ABOUT_THE_ENDPOINT:
        return EndpointRefusal(status, said)
    if is_request_fault(endpoint.engine, status, said.message):
        return EndpointRefusal(400, replace(said, type="invalid_request_error"))
    return UpstreamFault(
        FaultKind.BAD_STATUS,
        f"The endpoint answered {status}: {said.message}",
        status=status,
        retry_after_s=_seconds(response.headers),
    )


def _names_usage(said: OpenAIError) -> bool:
    return any(name in f"{said.message} {said.param}" for name in _USAGE)


def _without_secrets(said: OpenAIError, endpoint: Endpoint) -> OpenAIError:
    """*said* as it may be shown and logged."""
    return OpenAIError(
        without_secrets(said.message, endpoint),
        without_secrets(said.type, endpoint),
        None if said.code is None else without_secrets(said.code, endpoint),
        None if said.param is None else without_secrets(said.param, endpoint),
    )


async def _read_up_to(response: UpstreamResponse, limit_bytes: int) -> bytes:
    held = bytearray()
    async for chunk in response.chunks():
        held += chunk
        if len(held) >= limit_bytes:
            break
    return bytes(held[:limit_bytes])


def _seconds(headers: Mapping[str, str]) -> float | None:
    """`Retry-After` in seconds, None if there is none that can be believed.

    A date counts from the endpoint's own `Date`, so that it does not matter whose clock is wrong.
    """
    said = headers.get("retry-after", "")
    try:
        seconds = float(said)
    except ValueError:
        until, sent_at = _instant(said), _instant(headers.get("date", ""))
        if until is None or sent_at is None:
            return None
        seconds = max(0.0, (until - sent_at).total_seconds())
    return seconds if 0 <= seconds <= RETRY_AFTER_LIMIT_S else None


def _instant(date: str) -> datetime | None:
    """An HTTP date."""
    try:
        said = parsedate_to_datetime(date)
    except ValueError:
        return None
    return said if said.tzinfo is not None else said.replace(tzinfo=UTC)
