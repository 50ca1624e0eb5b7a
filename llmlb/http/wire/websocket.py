"""Which requests become WebSockets on a connection of ours, and what then passes through it."""

from __future__ import annotations

import re

import h11
from hypercorn.protocol.events import Data, StreamClosed
from hypercorn.protocol.h11 import H11WSConnection
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Event
from wsproto.frame_protocol import CloseReason

PATHS = b"/ws/"
"""What WebSockets can be opened on. Everywhere else the wish is passed over, as HTTP allows."""

MOST_BYTES = 64 * 1024
"""Of a message from a client. Nothing that is said there is listened to."""

ASK_AFTER_S = 20.0
"""A client that has sent nothing for so long is asked whether it is there (with a ping), and given
up if it has still sent nothing after as long again."""

_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_NEGOTIATED = frozenset({b"sec-websocket-extensions", b"sec-websocket-protocol"})
_BODY = frozenset({b"content-length", b"transfer-encoding"})


def opens_websocket(request: h11.Request) -> bool:
    """Whether *request* is one that opens a WebSocket (RFC 6455, 4.2.1) where there can be one."""
    headers = dict(request.headers)
    wishes = {wish.strip() for wish in headers.get(b"connection", b"").lower().split(b",")}
    return (
        request.method == b"GET"
        and request.http_version == b"1.1"
        and request.target.startswith(PATHS)
        and b"upgrade" in wishes
        and headers.get(b"upgrade", b"").lower() == b"websocket"
        and headers.get(b"sec-websocket-version") == b"13"
        and _KEY.fullmatch(headers.get(b"sec-websocket-key", b"")) is not None
        and _BODY.isdisjoint(headers)
        and headers[b"connection"].isascii()
    )


def plain_headers(request: h11.Request) -> list[tuple[bytes, bytes]]:
    """The headers of *request* without what could be agreed upon beside a WebSocket.

    What is compressed could swell to a thousand times its size, and each event would have to be
    compressed for each client anew.
    """
    return [(name, value) for name, value in request.headers if name not in _NEGOTIATED]


class PassingStream(WSStream):
    """hypercorn's, which has told a client that its message is too large and would still keep it.

    It would go on doing so for as long as the client goes on sending, and count it as a follower.
    """

    @property
    def is_open(self) -> bool:
        """Whether messages may be sent on it."""
        return (
            self.state is ASGIWebsocketState.CONNECTED
            and self.connection.state is ConnectionState.OPEN
        )

    async def _send_wsproto_event(self, event: Event) -> None:
        await super()._send_wsproto_event(event)
        if isinstance(event, CloseConnection) and event.code == CloseReason.MESSAGE_TOO_BIG:
            await self.send(StreamClosed(stream_id=self.stream_id))


class PassingConnection(H11WSConnection):
    """What stands in the place of h11's connection once bytes just pass."""

    ahead_bytes = 0
    is_far_ahead = False
    has_unread = True
    """The client's side of the goodbye is still to come."""

    @property
    def _is_open(self) -> bool:
        return self.h11_connection.our_state is h11.SWITCHED_PROTOCOL

    def receive_data(self, data: bytes) -> None:
        if self._is_open or len(self.buffer) < MOST_BYTES:
            super().receive_data(data)

    def next_event(self) -> Data | type[h11.NEED_DATA]:
        """What has come next; nothing before the handshake has been answered.

        hypercorn would refuse who does not wait for that, whatever the application is answering
        in the same moment, and not tell it: it would follow for a client that is gone.
        """
        return super().next_event() if self._is_open else h11.NEED_DATA
