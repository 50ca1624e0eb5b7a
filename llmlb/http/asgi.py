"""The Quart-Trio face: how an exchange meets ASGI, and how the house lives in a lifespan."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote_from_bytes, urlsplit

import structlog
import trio
from hypercorn.typing import (
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    HTTPScope,
    WebsocketScope,
)
from quart import Response
from quart.wrappers import Request
from quart_trio.asgi import TrioASGIHTTPConnection, TrioASGILifespan
from quart_trio.wrappers import TrioRequest
from structlog.contextvars import bound_contextvars

from llmlb.errors import LbError, RequestTimedOut
from llmlb.http.downstream import Head, PeerGone
from llmlb.http.inbound import REQUEST_ID, SendNow, headers_of, never, send_now_of
from llmlb.http.intake.pace import Pace
from llmlb.http.intake.reception import Intake
from llmlb.http.policy import has_two_lengths, request_id_of
from llmlb.http.request_body import RequestBody

if TYPE_CHECKING:
    from llmlb.http.application import LlmlbApp

log = structlog.get_logger()

LINGER_LIMIT_S = 5.0
"""So long the rest of a body may take that nobody waits for."""

_ASCII = bytes(range(128))


def sent_by(nursery: trio.Nursery, send: ASGISendCallable) -> ASGISendCallable:
    """*send*, such that whoever waits for it can be cancelled.

    hypercorn writes in a shielded scope, so a client that does not read could hold whoever
    sends to it for ever. Each message is therefore sent by a task of *nursery*.
    """

    async def send_beside(message: ASGISendEvent) -> None:
        sent = trio.Event()

        async def finish() -> None:
            await send(message)
            sent.set()

        nursery.start_soon(finish)
        await sent.wait()

    return send_beside


class AsgiDownstream:
    """A client's side of an exchange, over ASGI's `send`.

    The exchange waits for each message, but can be cancelled meanwhile, and then gives back all
    that it holds.
    """

    def __init__(
        self, send: ASGISendCallable, nursery: trio.Nursery, send_now: SendNow = never
    ) -> None:
        self._send = sent_by(nursery, send)
        self.send_now = send_now
        """In place of `send`, once the answer has begun, for what need not wait: False, and nothing
        has been sent, if it has to."""
        self._aborted = False
        self.peer_gone = False

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

    def __init__(self, run: Callable[[AsgiDownstream], Awaitable[None]]) -> None:
        super().__init__(b"")
        self.run = run


class LlmlbRequest(TrioRequest):
    """A request whose body comes in through the reception."""

    body_class = RequestBody  # type: ignore[assignment]  # as much of a Body as is used here


class HttpConnection(TrioASGIHTTPConnection):
    """One HTTP request: takes in its body, and runs exchanges directly."""

    app: LlmlbApp

    def __init__(self, app: LlmlbApp, scope: HTTPScope) -> None:
        headers = [v for name, v in scope["headers"] if name.lower() == b"x-request-id"]
        self._request_id = request_id_of({"x-request-id": b", ".join(headers).decode("latin-1")})
        known = {**with_readable_target(scope), REQUEST_ID: self._request_id}
        super().__init__(app, cast("HTTPScope", known))
        self._intake: Intake | None = None
        self._downstream: AsgiDownstream | None = None
        self._body_ended = trio.Event()
        self._answered = self._ending = False

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        async def send_last_after_body(message: ASGISendEvent) -> None:
            if message["type"] == "http.response.start" and self._is_last(message["status"]):
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                await self._linger()
                self._ending = True
            await send(message)

        self.app.asked_at_s = trio.current_time()
        try:
            # For both of its tasks: what is logged of the body tells of the request, too.
            with bound_contextvars(request_id=self._request_id):
                await super().__call__(receive, send_last_after_body)
        finally:
            self._give_back()

    def _is_last(self, status: int) -> bool:
        """Whether the answer has to say that the connection closes with it.

        Before a stop cuts it off, for a client that sent its next request at that moment could
        not tell what became of it; after a body that has not come; and where it is not sure at
        which byte the next request begins.
        """
        if self.scope["http_version"] not in ("1.0", "1.1"):
            return False
        names = {name.decode("latin-1") for name, _ in self.scope["headers"]}
        return self.app.draining or status == RequestTimedOut.status or has_two_lengths(names)

    async def _linger(self) -> None:
        """Let a body come to its end that was answered before, without keeping it.

        The client has its answer by then. To close with bytes unread would reset the
        connection, and a client that is still sending would never get to see the answer.
        """
        self._answered = True
        with trio.move_on_after(LINGER_LIMIT_S):
            await self._body_ended.wait()

    def _give_back(self) -> None:
        if self._intake is not None:
            self._intake.close()

    async def handle_messages(  # type: ignore[override]  # quart-trio's own has a nursery, too
        self, nursery: trio.Nursery, request: Request, receive: ASGIReceiveCallable
    ) -> None:
        body = cast("RequestBody", request.body)
        pace: Pace | None = None
        try:
            reception = self.app.reception
            self._intake = reception.intake_for(request.path, headers_of(request))
            pace = reception.pace()
        except LbError as refusal:
            body.refuse(refusal)
        while True:
            message = await self._next(receive, body, pace)
            if message["type"] == "http.disconnect":
                break
            if message["type"] == "http.request":
                more = message.get("more_body", False)
                if not (body.settled or self._answered):
                    await self._take_in(body, message.get("body", b""), more)
                if not more:
                    self._body_ended.set()
        if self._downstream is not None:
            self._downstream.peer_gone = True
        # hypercorn says so, too, while it takes the last message: cancelled there, it would
        # neither close the connection nor make it ready for the next request
        if not self._ending:
            nursery.cancel_scope.cancel()

    async def _next(
        self, receive: ASGIReceiveCallable, body: RequestBody, pace: Pace | None
    ) -> ASGIReceiveEvent:
        """What the client says next; a body that comes too slowly is refused meanwhile."""
        if pace is None or body.settled or self._answered:
            return await receive()
        asked_at_s = trio.current_time()
        with trio.move_on_after(pace.left_s):
            message = await receive()
            n_bytes = len(message.get("body", b"")) if message["type"] == "http.request" else 0
            pace.came(n_bytes, trio.current_time() - asked_at_s)
            return message
        body.refuse(RequestTimedOut("The body of the request comes too slowly."))
        return await receive()

    async def _take_in(self, body: RequestBody, data: bytes, more: bool) -> None:  # noqa: FBT001
        """One more piece; the next one is not asked for before this one has its place."""
        intake = cast("Intake", self._intake)
        try:
            await intake.take(data)
            if not more:
                body.set(await intake.finish())
        except LbError as refusal:
            intake.close()
            body.refuse(refusal)

    async def handle_request(  # type: ignore[override]
        self, nursery: trio.Nursery, request: Request, send: ASGISendCallable
    ) -> None:
        response = await self.app.handle_request(request)
        if isinstance(response, ExchangeResponse):
            self._downstream = AsgiDownstream(send, nursery, send_now_of(self.scope))
            with suppress(PeerGone):  # it has stopped reading, and its answer has been cut off
                await response.run(self._downstream)
            self._give_back()  # the client may take its time over what is left to send
            await self._downstream.finish()
        else:
            await self._send_response(send, response)
        nursery.cancel_scope.cancel()


def with_readable_target(scope: HTTPScope | WebsocketScope) -> HTTPScope | WebsocketScope:
    """*scope* with a target that Quart does not break off at, whatever the client has sent.

    A path always begins with a slash here, also for the forms `*` and `http://host/path`, and
    the query is ASCII.
    """
    path = scope["path"]
    if not path.startswith("/"):
        with suppress(ValueError):  # then it is no URL, and no route has it
            path = urlsplit(path).path
        path = "/" + path.removeprefix("/")
    query = quote_from_bytes(scope["query_string"], safe=_ASCII)
    readable = {**scope, "path": path, "query_string": query.encode()}
    return cast("HTTPScope | WebsocketScope", readable)


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
        finally:
            self.app.logs.end()
        if crash is not None:
            text = self.app.logs.redactor.text(f"an actor died: {self.app.crash!r}")
            await send(cast("Any", {"type": "lifespan.shutdown.failed", "message": text}))
            raise crash


def _leaves(error: BaseException) -> Iterable[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
