"""What the core needs of tracing, and what stands in its place where there is none."""

from __future__ import annotations

from typing import Protocol

from llmlb.http.downstream import Asked, Headers
from llmlb.records import RequestRecord


class Trace(Protocol):
    """The trace of one exchange. Nothing of it blocks, or fails."""

    def attempt(self, headers: Headers) -> Headers:
        """An endpoint is asked now: *headers*, by which it can go on with the trace."""
        ...

    def close(self, record: RequestRecord) -> None:
        """The exchange is over."""
        ...


class Tracing(Protocol):
    """Begins traces."""

    def begin(self, asked: Asked) -> Trace:
        """A request has come."""
        ...


class Untraced:
    """No traces: what clients say of theirs goes to endpoints as it came.

    One object in place of all of them, so that a request costs none.
    """

    def begin(self, asked: Asked) -> Trace:  # noqa: ARG002
        return self

    def attempt(self, headers: Headers) -> Headers:
        return headers

    def close(self, record: RequestRecord) -> None:
        """There is nothing to close."""


UNTRACED = Untraced()
