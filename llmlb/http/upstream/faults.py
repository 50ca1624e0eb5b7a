"""How a call to an endpoint can fail, before or after its answer began."""

from __future__ import annotations

from enum import StrEnum


class FaultKind(StrEnum):
    """What failed, as far as it matters for what to do next."""

    UNREACHABLE = "unreachable"
    """No connection: refused, unresolvable, TLS failure, connect timeout. Nothing was sent."""
    DISCONNECTED = "disconnected"
    """The connection broke after the request was sent, or the answer was cut short."""
    TIMEOUT = "timeout"
    BAD_STATUS = "bad_status"
    BAD_ANSWER = "bad_answer"
    """A 2xx that is no answer: empty, not JSON, an error object, the wrong content type."""


class UpstreamFault(Exception):
    """One call to one endpoint failed. str(fault) is one sentence without secrets."""

    def __init__(
        self,
        kind: FaultKind,
        reason: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.kind = kind
        self.status = status
        self.retry_after_s = retry_after_s

    def reworded(self, reason: str) -> UpstreamFault:
        """The same fault in other words."""
        return UpstreamFault(
            self.kind, reason, status=self.status, retry_after_s=self.retry_after_s
        )


class AddressRefused(UpstreamFault):
    """The host leads only to addresses that are not connected to; nothing was sent."""

    def __init__(self, reason: str) -> None:
        super().__init__(FaultKind.UNREACHABLE, reason)
