"""Which fault an error of a library is, in words without secrets."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator

import httpcore
import httpx
import trio

from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.http.upstream.wire import Attempt

LIBRARY_ERRORS: tuple[type[Exception], ...] = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    OSError,  # ssl.SSLError and socket.gaierror are kinds of it
    UnicodeError,  # a host name that IDNA cannot encode
)
"""All that httpx, httpcore, trio and the sockets raise when a call fails."""

_NOT_SENDABLE = (
    httpcore.LocalProtocolError,
    httpcore.UnsupportedProtocol,
    httpx.InvalidURL,
    UnicodeError,
)


def fault_before_head(
    error: Exception, attempt: Attempt, connect_timeout_s: float
) -> UpstreamFault:
    """The fault of a call that failed before the head of its answer had come."""
    if isinstance(error, httpcore.ConnectTimeout | httpcore.ConnectError):
        timed_out = isinstance(error, httpcore.ConnectTimeout)
        reason = (
            f"no connection within {connect_timeout_s:g} s"
            if timed_out
            else _why_no_connection(error)
        )
        if attempt.resent:
            # UNREACHABLE would promise that nothing was sent.
            return UpstreamFault(
                FaultKind.DISCONNECTED, f"The connection broke, and on a new try: {reason}."
            )
        return UpstreamFault(FaultKind.UNREACHABLE, f"{reason[0].upper()}{reason[1:]}.")
    if isinstance(error, _NOT_SENDABLE):
        # The libraries' own texts are not passed on: they quote header values.
        return UpstreamFault(FaultKind.UNREACHABLE, "The endpoint's URL is not valid.")
    if isinstance(error, httpcore.RemoteProtocolError) and not attempt.hung_up:
        return UpstreamFault(FaultKind.BAD_ANSWER, "The answer is not valid HTTP.")
    return UpstreamFault(FaultKind.DISCONNECTED, "The connection broke before an answer came.")


def fault_in_body(error: Exception, attempt: Attempt) -> UpstreamFault:
    """The fault of an answer whose body could not be read to its end."""
    if isinstance(error, httpcore.RemoteProtocolError) and not attempt.hung_up:
        return UpstreamFault(FaultKind.BAD_ANSWER, "The body of the answer is not valid HTTP.")
    return UpstreamFault(FaultKind.DISCONNECTED, "The answer was cut short.")


def _why_no_connection(error: BaseException) -> str:
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return f"the TLS certificate is not accepted: {cause.verify_message}"
            case ssl.SSLError():
                return "the TLS handshake failed (does it speak HTTPS?)"
            case socket.gaierror():
                return "the host name could not be resolved"
            case ConnectionRefusedError():
                return "connection refused"
            case OSError(errno=int(number)) if number in errno.errorcode:
                return os.strerror(number).lower()
            case _:
                pass
    return "no connection"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """*error* and all that led to it, the innermost reasons of a group included."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        cause = pending.pop(0)
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        if isinstance(cause, BaseExceptionGroup):
            pending.extend(cause.exceptions)
        pending += [cause.__cause__, cause.__context__]
