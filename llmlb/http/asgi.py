"""The Quart-Trio face: how an exchange meets ASGI, and how the house lives in a lifespan."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import structlog
import trio
from hypercorn.typing import (
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    HTTPScope,
)
from quart import Response
from quart.wrappers import Request
from quart_trio.asgi import TrioASGIHTTPConnection, TrioASGILifespan
from quart_trio.wrappers import TrioRequest

from llmlb.errors import Overloaded
from llmlb.http.bodies import BodyBudget
from llmlb.http.downstream import Downstream, Head, PeerGone
from llmlb.http.request_body import RequestBody

if TYPE_CHECKING:
    from llmlb.http.application import LlmlbApp

log = structlog.get_logger()

MANAGEMENT_BODY_LIMIT_BYTES = 1024 * 1024


class AsgiDownstream:
    """A client's side of an exchange, over ASGI's `send`.

    hypercorn writes in a shielded scope, so a client that does not read could hold whoever
    sends to it for ever. Each message is therefore sent by a task of *nursery*: the exchange
    waits for it, but can be cancelled meanwhile, and then gives back all that it holds.
    """

    def __init__(self, send: ASGISendCallable, nursery: trio.Nursery) -> None:
        self._asgi_send, self._nursery = send, nursery
        self._aborted = False
        self.peer_gone = False

    async def _send(self, message: ASGISendEvent) -> None:
        sent = trio.Event()

        async def send() -> None:
            await self._asgi_send(message)
            sent.set()

        self._nursery.start_soon(send)
        await sent.wait()

    async def begin(self, head: Head) -> None:
        headers = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in head.headers
        ]
        await self._send({"type": "http.response.start", "status": head.status, "headers": headers})

    async def send(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    def abort(self) -> None:
        self._aborted = True

    async def finish(self) -> None:
        """Complete the answer; after `abort`, leave it visibly incomplete."""
        if not self._aborted:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class ExchangeResponse(Response):
    """What a view returns to have *run* answer the client, piece by piece.

    Quart would pull the body from an async generator; one that is never started (the client
    left during the head) never runs its `finally`. Here the exchange pushes instead, and all
    that it holds is in the scope of one running function.
    """

    def __init__(self, run: Callable[[Downstream], Awaitable[None]]) -> None:
        super().__init__(b"")
        self.run = run


class LlmlbRequest(TrioRequest):
    """A request whose body limit depends on where it goes."""

    body_class = RequestBody  # type: ignore[assignment]  # as much of a Body as is used here

    def __init__(
        self,
        method: str,
        scheme: str,
        path: str,
        *args: Any,  # noqa: ANN401 - passed through
        max_content_length: int | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        if not path.startswith("/v1/") and max_content_length is not None:
            max_content_length = min(max_content_length, MANAGEMENT_BODY_LIMIT_BYTES)
        super().__init__(
            method, scheme, path, *args, max_content_length=max_content_length, **kwargs
        )


class HttpConnection(TrioASGIHTTPConnection):
    """One HTTP request: counts its body against the budget, and runs exchanges directly."""

    app: LlmlbApp

    def __init__(self, app: LlmlbApp, scope: HTTPScope) -> None:
        super().__init__(app, scope)
        self._budget: BodyBudget = app.body_budget
        self._held_bytes = 0
        self._downstream: AsgiDownstream | None = None

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        try:
            await super().__call__(receive, send)
        finally:
            self._give_back()

    def _give_back(self) -> None:
        held_bytes, self._held_bytes = self._held_bytes, 0
        self._budget.give_back(held_bytes)

    async def handle_messages(  # type: ignore[override]  # quart-trio's own has a nursery, too
        self, nursery: trio.Nursery, request: Request, receive: ASGIReceiveCallable
    ) -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            if message["type"] == "http.request":
                self._take_in(request, message.get("body", b""))
                if not message.get("more_body", False):
                    request.body.set_complete()
        if self._downstream is not None:
            self._downstream.peer_gone = True
        nursery.cancel_scope.cancel()

    def _take_in(self, request: Request, data: bytes) -> None:
        body = cast("RequestBody", request.body)
        if body.refused:
            return
        if self._budget.take(len(data)):
            self._held_bytes += len(data)
            body.append(data)
        else:
            body.refuse(
                Overloaded(
                    "Too many request bodies are being held at once; try again in a moment.",
                    retry_after_s=1,
                )
            )

    async def handle_request(  # type: ignore[override]
        self, nursery: trio.Nursery, request: Request, send: ASGISendCallable
    ) -> None:
        response = await self.app.handle_request(request)
        if isinstance(response, ExchangeResponse):
            self._downstream = AsgiDownstream(send, nursery)
            with suppress(PeerGone):  # it has stopped reading, and its answer has been cut off
                await response.run(self._downstream)
            self._give_back()  # the client may take its time over what is left to send
            await self._downstream.finish()
        else:
            await self._send_response(send, response)
        nursery.cancel_scope.cancel()


class Lifespan(TrioASGILifespan):
    """Tells the server when the house falls, which it would not notice by itself.

    hypercorn goes on answering after a lifespan task has died; only a message of failure
    stops it.
    """

    app: LlmlbApp

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        crash: BaseException | None = None
        try:
            await super().__call__(receive, send)
        except (Exception, BaseExceptionGroup) as error:
            # A start-up that failed has been reported by then, and a cancellation is no crash.
            leaves = [e for e in _leaves(error) if not isinstance(e, trio.Cancelled)]
            if not (self.app.served and leaves):
                raise
            crash = error
            self.app.crash = leaves[0]
            log.critical("an actor died, so the balancer stops", exc_info=error)
        if crash is not None:
            text = f"an actor died: {self.app.crash!r}"
            await send(cast("Any", {"type": "lifespan.shutdown.failed", "message": text}))
            raise crash


def _leaves(error: BaseException) -> Iterable[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
