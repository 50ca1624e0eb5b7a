"""The upstream client: how a call is opened, read, and closed at once."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from types import TracebackType

import structlog
import trio

from llmlb.http.payload import Payload
from llmlb.http.streams.byte_stream import StreamBroken
from llmlb.http.upstream.client import Headers, PoolStatistics
from llmlb.http.upstream.connection import BREAKS, Connection
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.http.upstream.guarded import GuardedNetwork
from llmlb.http.upstream.network import Network
from llmlb.http.upstream.pool import KEEPALIVE_S, Pool
from llmlb.http.upstream.requests import Origin
from llmlb.http.upstream.rules import for_endpoints
from llmlb.http.upstream.tls import Contexts, Trust
from llmlb.http.upstream.translate import (
    NO_CONNECTION,
    fault_before_head,
    fault_in_body,
    fault_of_connecting,
)
from llmlb.types import Endpoint, EndpointId

log = structlog.get_logger()

STALE_WITHIN_S = 5.0
"""A stale connection shows within a round trip. What breaks later was being worked on, and sending
that again would double the work, or crash the endpoint twice."""

SWEEP_EVERY_S = 1.0
"""Idle connections are looked through so often, all together: a timer for each costs more."""


class PooledUpstreamClient:
    """Owns one pool of connections per endpoint."""

    def __init__(
        self,
        *,
        instance_id: str,
        connect_timeout_s: float,
        ssl_context: ssl.SSLContext | None = None,
        network: Network | None = None,
    ) -> None:
        self._instance_id = instance_id
        self._connect_timeout_s = connect_timeout_s
        self._contexts = Contexts(ssl_context)
        self._network = network or GuardedNetwork(for_endpoints())
        self._by_endpoint: dict[EndpointId, Pool] = {}
        self._all: dict[Pool, None] = {}
        """Also the forgotten ones, while calls are left on them."""
        self._closed = False
        self._sweeping = False

    def __repr__(self) -> str:
        calls = sum(pool.calls for pool in self._all)
        return f"<PooledUpstreamClient: {len(self._by_endpoint)} endpoints, {calls} calls>"

    def call(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        *,
        headers: Headers = (),
        body: bytes | Payload | None = None,
    ) -> Call:
        """See UpstreamClient.call."""
        return Call(self, endpoint, method, path, headers=headers, body=body)

    async def forget(self, endpoint_id: EndpointId) -> None:
        """See UpstreamClient.forget. Calls that are under way go on to their end."""
        self._forget(endpoint_id)

    async def aclose(self) -> None:
        """Close everything, also under calls that are still being read."""
        self._closed = True
        self._by_endpoint.clear()
        for pool in self._all:
            pool.close()
        self._all.clear()

    def statistics(self) -> Mapping[EndpointId, PoolStatistics]:
        """See UpstreamClient.statistics."""
        return {known: pool.statistics() for known, pool in self._by_endpoint.items()}

    # -- for calls

    def pool_for(self, endpoint: Endpoint) -> Pool:
        """The connections to *endpoint*. Raises UpstreamFault."""
        pool = self._by_endpoint.get(endpoint.id)
        if pool is not None and (pool.endpoint is endpoint or pool.serve(endpoint)):
            return pool
        self._forget(endpoint.id)
        if self._closed:
            raise _shutting_down()
        pool = self._by_endpoint[endpoint.id] = self._new_pool(endpoint)
        self._all[pool] = None
        return pool

    async def open(self, pool: Pool, *, resent: bool = False) -> Connection:
        """A new connection. Raises UpstreamFault."""
        try:
            with trio.fail_after(self._connect_timeout_s):
                connection = await pool.open()
        except (*NO_CONNECTION, UpstreamFault) as error:
            raise fault_of_connecting(error, self._connect_timeout_s, resent=resent) from None
        if self._closed:
            pool.drop(connection)
            raise _shutting_down()
        return connection

    def ended(self, pool: Pool) -> None:
        """A call on it is over."""
        pool.calls -= 1
        if pool.closing and not pool.calls:
            self._all.pop(pool, None)
        if pool.any_idle and not self._sweeping:
            self._sweeping = True
            trio.lowlevel.spawn_system_task(self._sweep)

    # -- private

    def _forget(self, endpoint_id: EndpointId) -> None:
        pool = self._by_endpoint.pop(endpoint_id, None)
        if pool is not None:
            pool.closing = True
            pool.close_idle()
            if not pool.calls:
                self._all.pop(pool, None)

    def _new_pool(self, endpoint: Endpoint) -> Pool:
        trust, origin = Trust.of(endpoint), Origin.of(endpoint.base_url)
        if origin.tls and not trust.verify:
            log.warning(
                "whoever answers is taken for this endpoint: its certificate is not verified",
                endpoint=endpoint.name,
            )
        context = self._contexts.trusting(trust) if origin.tls else None
        return Pool(endpoint, origin, self._network, context, self._instance_id)

    async def _sweep(self) -> None:
        """Close what has been idle for too long, as long as anything is idle."""
        while any(pool.any_idle for pool in self._all):
            await trio.sleep(SWEEP_EVERY_S)
            since_s = trio.current_time() - KEEPALIVE_S
            for pool in self._all:
                pool.close_idle(since_s)
        self._sweeping = False


class Call:
    """One request, and its answer while it is entered."""

    __slots__ = (
        "_answer", "_body", "_client", "_connection", "_endpoint", "_headers", "_method", "_path",
        "_pool",
    )  # fmt: skip

    def __init__(
        self,
        client: PooledUpstreamClient,
        endpoint: Endpoint,
        method: str,
        path: str,
        *,
        headers: Headers,
        body: bytes | Payload | None,
    ) -> None:
        self._client, self._endpoint = client, endpoint
        self._method, self._path, self._headers, self._body = method, path, headers, body

    async def __aenter__(self) -> Answer:
        client, body = self._client, self._body
        pool = self._pool = client.pool_for(self._endpoint)
        length = None if body is None else _length(body)
        head = pool.heads.head(self._method, self._path, self._headers, length)
        pool.calls += 1
        try:
            connection = self._connection = await self._asked(pool, head)
        except BaseException:
            client.ended(pool)
            raise
        answer = self._answer = Answer(connection)
        return answer

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Nothing here waits, so that a call ends at once also while it is being cancelled.
        pool = self._pool
        if self._answer.leave():
            pool.give_back(self._connection)
        else:
            pool.drop(self._connection)
        self._client.ended(pool)

    async def _asked(self, pool: Pool, head: bytes) -> Connection:
        """A connection on which the head of the answer has come. Raises UpstreamFault."""
        sent_at_s = trio.current_time()
        connection = pool.take(sent_at_s)
        reused, resent = connection is not None, False
        while True:
            if connection is None:
                connection = await self._client.open(pool, resent=resent)
            try:
                await connection.ask(head, self._body, bodyless=self._method == "HEAD")
            except BREAKS as error:
                pool.drop(connection)
                waited_s = trio.current_time() - sent_at_s
                if not reused or connection.parser.begun or waited_s > STALE_WITHIN_S:
                    raise fault_before_head(error) from None
            except BaseException:
                pool.drop(connection)
                raise
            else:
                return connection
            # The endpoint had closed the idle connection in the very moment it was picked. Its
            # brothers are as old, so none of them is tried again.
            pool.close_idle()
            pool.stale += 1
            connection, reused, resent = None, False, True


class Answer:
    """The head of one answer, and the one reading of its body."""

    __slots__ = ("_connection", "_left", "_read_to_end", "headers", "status")

    def __init__(self, connection: Connection) -> None:
        self.status = connection.parser.status
        self.headers: Mapping[str, str] = connection.parser.headers
        self._connection = connection
        self._read_to_end = self._left = False

    def chunks(self) -> AsyncIterator[bytes]:
        """The body; asked twice, the same reading goes on."""
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        # A class rather than an async generator: those complain, and close late, when a reader
        # leaves them half way.
        connection = self._connection
        parser = connection.parser
        if self._left:
            raise fault_in_body(StreamBroken())
        while not parser.pieces:
            if parser.complete:
                self._read_to_end = True
                raise StopAsyncIteration
            try:
                await connection.more()
            except BREAKS as error:
                raise fault_in_body(error) from None
        return parser.take()

    def leave(self) -> bool:
        """Nobody reads on from here; whether the body was read to its end."""
        self._left = True
        return self._read_to_end


def _length(body: bytes | Payload) -> int:
    return len(body) if isinstance(body, bytes) else body.size_bytes


def _shutting_down() -> UpstreamFault:
    return UpstreamFault(FaultKind.UNREACHABLE, "llmlb is shutting down.")
