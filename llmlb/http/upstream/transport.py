"""Which connection carries one request to one endpoint, and when it is sent a second time."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import cast

import httpcore
import httpx
import trio

from llmlb.http.upstream.wire import Attempt, WireNetwork, current_attempt

KEEPALIVE_S = 4.0
"""llama.cpp closes a connection that has been idle for 5 s: stop using it a little earlier."""

STALE_WITHIN_S = 5.0
"""A stale connection shows within a round trip. What breaks later was being worked on, and sending
that again would double the work, or crash the endpoint twice."""

ATTEMPT = "llmlb.attempt"
"""Extension of a request: its Attempt, which the transport keeps up to date."""


class EndpointTransport(httpx.AsyncBaseTransport):
    """Owns the connections to one endpoint.

    httpx's own transport would do, but it hides the network below it, and with it whether a
    request broke on a connection that had merely been idle for too long.
    """

    def __init__(
        self, ssl_context: ssl.SSLContext | None, network: httpcore.AsyncNetworkBackend
    ) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context,
            max_connections=None,  # admission bounds what runs on an endpoint
            # httpcore counts the busy ones too, so any number here would close idle connections
            # just when many requests run. The expiry bounds them instead.
            max_keepalive_connections=None,
            keepalive_expiry=KEEPALIVE_S,
            http1=True,
            http2=False,
            network_backend=WireNetwork(network),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        attempt: Attempt = request.extensions[ATTEMPT]
        sent_at = trio.current_time()
        try:
            return await self._send(request, attempt)
        except (httpcore.NetworkError, httpcore.RemoteProtocolError):
            waited_s = trio.current_time() - sent_at
            if attempt.fresh or attempt.answered or waited_s > STALE_WITHIN_S:
                raise
        # The endpoint had closed the idle connection in the very moment it was picked. Its
        # brothers are as old, so none of them is tried again.
        await self.close_idle()
        attempt.again()
        return await self._send(request, attempt)

    async def _send(self, request: httpx.Request, attempt: Attempt) -> httpx.Response:
        token = current_attempt.set(attempt)
        try:
            response = await self._pool.handle_async_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=cast("httpx.AsyncByteStream", request.stream),
                    extensions=request.extensions,
                )
            )
        finally:
            current_attempt.reset(token)
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(cast("_Closable", response.stream)),
            extensions=dict(response.extensions),
        )

    async def close_idle(self) -> None:
        """Close the connections that carry no request."""
        for connection in self._pool.connections:
            if connection.is_idle():
                await connection.aclose()

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Closable(httpx.AsyncByteStream):
    """What httpcore's response stream is, in httpx's words."""


class _Body(httpx.AsyncByteStream):
    """httpcore's body as httpx wants it, without one more generator between them."""

    def __init__(self, stream: _Closable) -> None:
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream.__aiter__()

    async def aclose(self) -> None:
        await self._stream.aclose()
