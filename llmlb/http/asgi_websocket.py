"""A WebSocket on the Quart-Trio face: what is sent can be given up, what comes is not kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import trio
from hypercorn.typing import (
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    WebsocketScope,
)
from quart_trio.asgi import TrioASGIWebsocketConnection

from llmlb.http.asgi import sent_by, with_readable_target

if TYPE_CHECKING:
    from llmlb.http.application import LlmlbApp

CLOSE_LIMIT_S = 5.0
"""So long a client may take to take the last message; then it is not waited for."""


class WebsocketConnection(TrioASGIWebsocketConnection):
    """One WebSocket, from its handshake to its end. No route of ours listens to what comes."""

    def __init__(self, app: LlmlbApp, scope: WebsocketScope) -> None:
        super().__init__(app, cast("WebsocketScope", with_readable_target(scope)))

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        async def send_last(message: ASGISendEvent) -> None:
            by_http_1 = self.scope["http_version"] == "1.1"
            if message["type"] == "websocket.http.response.start" and by_http_1:
                # what comes behind the handshake cannot be told from a WebSocket's frames
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        async with trio.open_nursery() as nursery:
            sends = sent_by(nursery, send_last)
            websocket = self._create_websocket_from_scope(sends)
            nursery.start_soon(self.handle_messages, nursery, receive)
            nursery.start_soon(self.handle_websocket, nursery, websocket, sends)

    async def handle_messages(  # type: ignore[override]  # quart-trio's own has a nursery, too
        self, nursery: trio.Nursery, receive: ASGIReceiveCallable
    ) -> None:
        """Pass over what the client says, until it leaves.

        Quart would keep ten messages, and not notice afterwards that the client is gone.
        """
        while (await receive())["type"] != "websocket.disconnect":
            pass
        nursery.cancel_scope.cancel()

    async def close_connection(self, send: ASGISendCallable, code: int, reason: str) -> None:
        """Close it; once, and also for a client that does not read."""
        with trio.move_on_after(CLOSE_LIMIT_S):
            await super().close_connection(send, code, reason)
        self._closed = True
