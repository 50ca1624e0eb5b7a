"""httpx's API over the calls to one endpoint: the same connections, headers and guards."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import httpx

from llmlb.http.upstream.client import UpstreamClient, UpstreamResponse
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.types import Endpoint


class EndpointTransport(httpx.AsyncBaseTransport):
    """For an `httpx.AsyncClient(base_url=endpoint.base_url, transport=...)`; owns nothing.

    Faults are raised as httpx's errors, with the fault as their cause. Only connecting is bounded
    in time, by the upstream client: httpx's own time limits are not looked at.
    """

    def __init__(self, client: UpstreamClient, endpoint: Endpoint) -> None:
        self._client, self._endpoint = client, endpoint
        self._base = httpx.URL(endpoint.base_url)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx. A body is read whole before it is sent."""
        body = await request.aread()
        headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in request.headers.raw]
        async with contextlib.AsyncExitStack() as held:
            try:
                answer = await held.enter_async_context(
                    self._client.call(
                        self._endpoint,
                        request.method,
                        self._path(request),
                        headers=headers,
                        body=body or None,
                    )
                )
            except UpstreamFault as fault:
                raise _as_httpx(fault, request) from fault
            return httpx.Response(
                answer.status,
                headers=list(answer.headers.items()),
                stream=_Body(answer, held.pop_all(), request),
            )
        raise AssertionError  # nothing that is held swallows an exception

    def _path(self, request: httpx.Request) -> str:
        """What stands behind the base URL in that of *request*."""
        base, url = self._base, request.url
        prefix = base.raw_path.rstrip(b"/")
        if (url.scheme, url.netloc) != (base.scheme, base.netloc) or not url.raw_path.startswith(
            prefix + b"/"
        ):
            raise httpx.UnsupportedProtocol("That is not the endpoint's.", request=request)
        return url.raw_path[len(prefix) :].decode("ascii")


class _Body(httpx.AsyncByteStream):
    """The body of one answer, and the call that ends with it."""

    def __init__(
        self, answer: UpstreamResponse, held: contextlib.AsyncExitStack, request: httpx.Request
    ) -> None:
        self._chunks, self._held, self._request = answer.chunks(), held, request

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._chunks)
        except UpstreamFault as fault:
            raise _as_httpx(fault, self._request) from fault

    async def aclose(self) -> None:
        await self._held.aclose()


def _as_httpx(fault: UpstreamFault, request: httpx.Request) -> httpx.TransportError:
    kinds: dict[FaultKind, type[httpx.TransportError]] = {
        FaultKind.UNREACHABLE: httpx.ConnectError,
        FaultKind.DISCONNECTED: httpx.ReadError,
    }
    return kinds.get(fault.kind, httpx.RemoteProtocolError)(str(fault), request=request)
