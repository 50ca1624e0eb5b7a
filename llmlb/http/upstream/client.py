"""What the core asks of an upstream client; it knows no more of HTTP libraries than this."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from llmlb.http.payload import Payload
from llmlb.types import Endpoint, EndpointId

INSTANCE_HEADER = "x-llmlb-instance"
"""Carries the ids of the balancers that a request has passed, so that loops are seen."""


class PoolStatistics(NamedTuple):
    """How it is with the connections to one endpoint, and what has been since they began."""

    idle: int
    busy: int
    opened: int
    reused: int
    """Requests that went out on a connection which had carried one before."""
    stale: int
    """Requests that broke on such a one, and were sent again."""


Headers = Sequence[tuple[str, str]]


class UpstreamResponse(Protocol):
    """The head of an endpoint's answer, and its body as it comes."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """By lower-case name; repeated ones joined with a comma."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body, undecoded, in pieces as they arrive. Raises UpstreamFault."""
        ...


class UpstreamClient(Protocol):
    """Keeps connections to endpoints, and opens calls on them."""

    def call(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        *,
        headers: Headers = (),
        body: bytes | Payload | None = None,
    ) -> AbstractAsyncContextManager[UpstreamResponse]:
        """Send one request to `endpoint.base_url + path`; entered when the head has come.

        Adds the endpoint's key and extra headers, and asks for an uncompressed answer. Only
        connecting is bounded in time here (the rest is the caller's). Leaving the context
        closes the call at once, also while being cancelled. Raises UpstreamFault, and the
        LbError of a *body* that cannot be read.
        """
        ...

    async def forget(self, endpoint_id: EndpointId) -> None:
        """Close the idle connections of an endpoint that is gone or has changed."""
        ...

    def statistics(self) -> Mapping[EndpointId, PoolStatistics]:
        """The connections to each endpoint that has been called; none of one that is forgotten."""
        ...

    async def aclose(self) -> None:
        """Close everything."""
        ...
