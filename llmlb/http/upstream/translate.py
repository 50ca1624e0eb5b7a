"""Which fault it is when a call breaks, in words without secrets."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import trio

from llmlb.http.streams.byte_stream import StreamBroken
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.http.upstream.parser import NotHttp

NO_CONNECTION = (OSError, UnicodeError, StreamBroken, trio.TooSlowError)
"""What opening a connection raises, beside faults: ssl.SSLError and socket.gaierror are OSErrors, a
UnicodeError is a host name that cannot be one."""


def fault_of_connecting(
    error: Exception, connect_timeout_s: float, *, resent: bool
) -> UpstreamFault:
    """The fault of a call for which there was no connection.

    *resent*: it was sent before, on a stale one; UNREACHABLE would promise that nothing was.
    """
    if isinstance(error, UpstreamFault):
        return UpstreamFault(FaultKind.DISCONNECTED, str(error)) if resent else error
    reason = _why_no_connection(error, connect_timeout_s)
    if resent:
        return UpstreamFault(
            FaultKind.DISCONNECTED, f"The connection broke, and on a new try: {reason}."
        )
    return UpstreamFault(FaultKind.UNREACHABLE, f"{reason[0].upper()}{reason[1:]}.")


def fault_before_head(error: Exception) -> UpstreamFault:
    """The fault of a call that broke before the head of its answer had come."""
    if isinstance(error, NotHttp):
        return UpstreamFault(FaultKind.BAD_ANSWER, "The answer is not valid HTTP.")
    return UpstreamFault(FaultKind.DISCONNECTED, "The connection broke before an answer came.")


def fault_in_body(error: Exception) -> UpstreamFault:
    """The fault of an answer whose body could not be read to its end."""
    if isinstance(error, NotHttp):
        return UpstreamFault(FaultKind.BAD_ANSWER, "The body of the answer is not valid HTTP.")
    return UpstreamFault(FaultKind.DISCONNECTED, "The answer was cut short.")


def _why_no_connection(error: Exception, connect_timeout_s: float) -> str:
    reason = "no connection"
    match error:
        case trio.TooSlowError():
            reason = f"no connection within {connect_timeout_s:g} s"
        case ssl.SSLCertVerificationError():
            reason = f"the TLS certificate is not accepted: {error.verify_message}"
        case ssl.SSLError():
            reason = "the TLS handshake failed (does it speak HTTPS?)"
        case socket.gaierror() | UnicodeError():
            reason = "the host name could not be resolved"
        case ConnectionRefusedError():
            reason = "connection refused"
        case OSError(errno=int(number)) if number in errno.errorcode:
            reason = os.strerror(number).lower()
    return reason
