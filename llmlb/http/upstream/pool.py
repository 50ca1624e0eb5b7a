"""Which connection carries the next request to one endpoint, and which ones are kept until then."""

from __future__ import annotations

import ssl

import trio

from llmlb.http.streams.tls_stream import tls_over
from llmlb.http.upstream.client import PoolStatistics
from llmlb.http.upstream.connection import Connection
from llmlb.http.upstream.network import Network
from llmlb.http.upstream.requests import Origin, RequestHeads
from llmlb.http.upstream.tls import Trust
from llmlb.types import Endpoint

KEEPALIVE_S = 4.0
"""llama.cpp closes a connection that has been idle for 5 s: stop using it a little earlier."""


class Pool:
    """Owns the connections to one endpoint as it is reached now.

    How many there are is admission's matter: as many as requests may run on the endpoint.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        origin: Origin,
        network: Network,
        context: ssl.SSLContext | None,
        instance_id: str,
    ) -> None:
        """*context* is for TLS, None without. Raises UpstreamFault, as RequestHeads does."""
        self.endpoint = endpoint
        self.heads = RequestHeads(endpoint, origin.authority, instance_id)
        self.calls = 0
        self.closing = False
        """The connections are closed as soon as they carry nothing."""
        self.stale = 0
        self._origin, self._network, self._context = origin, network, context
        self._instance_id = instance_id
        self._idle: list[Connection] = []
        """The one that was used last is the last."""
        self._all: dict[Connection, None] = {}
        self._opened = self._reused = 0

    def serve(self, endpoint: Endpoint) -> bool:
        """Whether these connections can serve *endpoint* as it is now. Raises UpstreamFault."""
        known = self.endpoint
        if known.base_url != endpoint.base_url or Trust.of(known) != Trust.of(endpoint):
            return False
        self.heads = RequestHeads(endpoint, self._origin.authority, self._instance_id)
        self.endpoint = endpoint
        return True

    def take(self, now_s: float) -> Connection | None:
        """An idle connection, if there is one on which nothing has happened since."""
        while self._idle:
            connection = self._idle.pop()
            fresh = now_s - connection.idle_since_s < KEEPALIVE_S
            # Bytes that nobody asked for would be taken for the next answer.
            if fresh and not connection.stream.peer_gone:
                self._reused += 1
                return connection
            self.drop(connection)
        return None

    async def open(self) -> Connection:
        """A new connection, TLS included. How long it may take is the caller's matter.

        Raises OSError, UnicodeError, StreamBroken, UpstreamFault.
        """
        stream = await self._network.connect(self._origin.host, self._origin.port)
        if self._context is not None:
            stream = await tls_over(stream, self._context, self._origin.host)
        connection = Connection(stream)
        self._all[connection] = None
        self._opened += 1
        return connection

    def give_back(self, connection: Connection) -> None:
        """It has carried an answer to its end."""
        if self.closing or not connection.reusable:
            self.drop(connection)
        else:
            connection.idle_since_s = trio.current_time()
            self._idle.append(connection)

    def drop(self, connection: Connection) -> None:
        """Close it at once."""
        self._all.pop(connection, None)
        connection.close()

    @property
    def any_idle(self) -> bool:
        return bool(self._idle)

    def close_idle(self, since_s: float = float("inf")) -> None:
        """Close those that carry no request, and have carried none *since_s*."""
        while self._idle and self._idle[0].idle_since_s <= since_s:
            self.drop(self._idle.pop(0))

    def close(self) -> None:
        """Close everything, also under calls that are still being read."""
        self.closing = True
        self._idle.clear()
        while self._all:
            self.drop(next(iter(self._all)))

    def statistics(self) -> PoolStatistics:
        """As it is now."""
        idle = len(self._idle)
        return PoolStatistics(idle, len(self._all) - idle, self._opened, self._reused, self.stale)
