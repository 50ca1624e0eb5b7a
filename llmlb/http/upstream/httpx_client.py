"""The upstream client on httpx: how a call is opened, read, and closed at once."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import MappingProxyType

import httpcore
import httpx
import structlog
import trio

from llmlb.http.payload import Payload
from llmlb.http.upstream.client import Headers, UpstreamResponse
from llmlb.http.upstream.faults import AddressRefused, FaultKind, UpstreamFault
from llmlb.http.upstream.guarded import GuardedNetwork
from llmlb.http.upstream.outgoing import outgoing_headers
from llmlb.http.upstream.rules import for_endpoints
from llmlb.http.upstream.tls import Contexts, Trust
from llmlb.http.upstream.translate import LIBRARY_ERRORS, fault_before_head, fault_in_body
from llmlb.http.upstream.transport import ATTEMPT, EndpointTransport
from llmlb.http.upstream.wire import Attempt
from llmlb.types import Endpoint, EndpointId

log = structlog.get_logger()

CLOSE_WITHIN_S = 1.0
"""Closing a socket does not wait for the endpoint; this only keeps a promise about it."""


@dataclass(slots=True, eq=False)
class _Connections:
    """The connections to one endpoint as it is reached now, and how many calls use them."""

    base_url: str
    trust: Trust
    transport: EndpointTransport
    client: httpx.AsyncClient
    calls: int = 0
    forgotten: bool = False


class HttpxUpstreamClient:
    """Owns one httpx client, and so one pool of connections, per endpoint.

    One pool for all would be walked as a whole on every request.
    """

    def __init__(
        self,
        *,
        instance_id: str,
        connect_timeout_s: float,
        ssl_context: ssl.SSLContext | None = None,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._instance_id = instance_id
        self._connect_timeout_s = connect_timeout_s
        self._contexts = Contexts(ssl_context)
        self._network = network or GuardedNetwork(for_endpoints())
        self._by_endpoint: dict[EndpointId, _Connections] = {}
        self._all: set[_Connections] = set()
        """Also the forgotten ones, while calls are left on them."""
        self._closed = False

    def __repr__(self) -> str:
        calls = sum(connections.calls for connections in self._all)
        return f"<HttpxUpstreamClient: {len(self._by_endpoint)} endpoints, {calls} calls>"

    @contextlib.asynccontextmanager
    async def call(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        *,
        headers: Headers = (),
        body: bytes | Payload | None = None,
    ) -> AsyncIterator[UpstreamResponse]:
        """See UpstreamClient.call."""
        raw_headers = outgoing_headers(endpoint, headers, self._instance_id)
        connections = await self._connections_to(endpoint)
        connections.calls += 1
        try:
            answer = await self._open(connections, method, path, raw_headers, body)
            try:
                yield answer
            finally:
                with trio.move_on_after(CLOSE_WITHIN_S, shield=True):
                    await answer.aclose()
        finally:
            connections.calls -= 1
            with trio.move_on_after(CLOSE_WITHIN_S, shield=True):
                await self._close_if_unused(connections)

    async def forget(self, endpoint_id: EndpointId) -> None:
        """See UpstreamClient.forget. Calls that are under way go on to their end."""
        connections = self._by_endpoint.pop(endpoint_id, None)
        if connections is not None:
            connections.forgotten = True
            await connections.transport.close_idle()
            await self._close_if_unused(connections)

    async def aclose(self) -> None:
        """Close everything, also under calls that are still being read."""
        self._closed = True
        self._by_endpoint.clear()
        while self._all:
            await self._all.pop().client.aclose()

    async def _connections_to(self, endpoint: Endpoint) -> _Connections:
        known = self._usable_by(endpoint)
        if known is None and endpoint.id in self._by_endpoint:
            await self.forget(endpoint.id)
            known = self._usable_by(endpoint)  # another call may have been faster
        if self._closed:
            raise UpstreamFault(FaultKind.UNREACHABLE, "llmlb is shutting down.")
        if known is None:
            known = self._by_endpoint[endpoint.id] = self._new_connections(endpoint)
            self._all.add(known)
        return known

    def _usable_by(self, endpoint: Endpoint) -> _Connections | None:
        """Those that were made to where it is now, trusting whom it is to be trusted by now."""
        known = self._by_endpoint.get(endpoint.id)
        if known is None or known.base_url != endpoint.base_url:
            return None
        return known if known.trust == Trust.of(endpoint) else None

    def _new_connections(self, endpoint: Endpoint) -> _Connections:
        trust = Trust.of(endpoint)
        tls = endpoint.base_url.lower().startswith("https:")
        if tls and not trust.verify:
            log.warning(
                "whoever answers is taken for this endpoint: its certificate is not verified",
                endpoint=endpoint.name,
            )
        transport = EndpointTransport(
            self._contexts.trusting(trust) if tls else None, self._network
        )
        client = httpx.AsyncClient(
            transport=transport,
            trust_env=False,  # a proxy for the world outside must not catch the LAN
            follow_redirects=False,
            # Nobody here wants an endpoint's cookies, and a jar has no bound.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
        return _Connections(endpoint.base_url, trust, transport, client)

    async def _open(
        self,
        connections: _Connections,
        method: str,
        path: str,
        headers: list[tuple[bytes, bytes]],
        body: bytes | Payload | None,
    ) -> _Answer:
        attempt = Attempt()
        content = None if body is None else _Pieces(body)
        if content is not None:
            headers = [*headers, (b"content-length", str(content.size_bytes).encode())]
        try:
            # Not client.build_request: it adds httpx's own user-agent, accept and connection.
            request = httpx.Request(
                method,
                connections.base_url + path,
                headers=headers,
                content=content,
                extensions={"timeout": {"connect": self._connect_timeout_s}, ATTEMPT: attempt},
            )
            # The explicit Auth keeps httpx from making one of `user:password@` in the URL.
            if content is not None:
                request.stream = content  # for httpx has put a generator of its own round it
            response = await connections.client.send(request, stream=True, auth=httpx.Auth())
        except AddressRefused as refusal:
            if not attempt.resent:
                raise
            # UNREACHABLE would promise that nothing was sent.
            raise UpstreamFault(FaultKind.DISCONNECTED, str(refusal)) from None
        except LIBRARY_ERRORS as error:
            raise fault_before_head(error, attempt, self._connect_timeout_s) from None
        finally:
            if content is not None:
                await content.aclose()
        return _Answer(response, attempt)

    async def _close_if_unused(self, connections: _Connections) -> None:
        if connections.forgotten and connections.calls == 0:
            self._all.discard(connections)
            await connections.client.aclose()


class _Pieces(httpx.AsyncByteStream):
    """A body as httpx wants it: to be iterated anew each time it is sent.

    Whoever iterates it may leave it half way, when a call is cancelled whose body is being sent.
    """

    def __init__(self, body: bytes | Payload) -> None:
        self._body = body
        self.size_bytes = len(body) if isinstance(body, bytes) else body.size_bytes
        self._begun: list[AsyncIterator[bytes]] = []

    def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = _once(self._body) if isinstance(self._body, bytes) else self._body.chunks()
        self._begun.append(pieces)
        return pieces

    async def aclose(self) -> None:
        """End what nobody reads on, as when the connection broke half way."""
        for pieces in self._begun:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


class _Answer:
    """The head of one answer, and the one reading of its body."""

    def __init__(self, response: httpx.Response, attempt: Attempt) -> None:
        self._response = response
        self._attempt = attempt
        self._body = response.aiter_raw()
        self._read_to_end = False
        joined: dict[str, str] = {}
        for name, value in response.headers.raw:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            joined[key] = f"{joined[key]}, {text}" if key in joined else text
        self._headers = MappingProxyType(joined)

    @property
    def status(self) -> int:
        return self._response.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        return self._headers

    def chunks(self) -> AsyncIterator[bytes]:
        """The body; asked twice, the same reading goes on."""
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        # A class rather than one more async generator: those complain, and close late, when
        # a reader leaves them half way.
        try:
            return await anext(self._body)
        except StopAsyncIteration:
            self._read_to_end = True
            raise
        except LIBRARY_ERRORS as error:
            raise fault_in_body(error, self._attempt) from None

    async def aclose(self) -> None:
        """Give the connection back if the body was read to its end, else close it."""
        try:
            if not self._read_to_end:
                await self._break_off()
        finally:
            # httpx's response and its stream name each other, and through the request its body:
            # many MiB that would stay until the collector comes by.
            self._response.stream = httpx.ByteStream(b"")

    async def _break_off(self) -> None:
        wire: httpcore.AsyncNetworkStream = self._response.extensions["network_stream"]
        await wire.aclose()
        # httpcore's nested generators end only by being driven to an end: with the wire closed
        # that is an error, after what h11 holds already (100 KiB at most).
        with contextlib.suppress(*LIBRARY_ERRORS):
            async for _ in self._body:
                pass
        await self._response.aclose()
