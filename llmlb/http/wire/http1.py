"""Which HTTP/1.1 requests are understood on a connection, and how the others are refused."""

from __future__ import annotations

import re
import uuid
from typing import Any, cast

import h11
import trio
from hypercorn.protocol.events import Request
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import ASGIHTTPState
from wsproto.events import Ping

from llmlb.errors import (
    HeadersTooLarge,
    InvalidRequest,
    LbError,
    NotImplementedYet,
    RequestTimedOut,
)
from llmlb.http.policy import HEADER_BLOCK_LIMIT_BYTES, has_two_lengths
from llmlb.http.render import render_error
from llmlb.http.response_policy import OF_API
from llmlb.http.wire.websocket import (
    PassingConnection,
    PassingStream,
    opens_websocket,
    plain_headers,
)

AHEAD_LIMIT_BYTES = 64 * 1024
"""No more is read of requests that are sent before the one at hand has been answered."""

_END_OF_HEAD = re.compile(rb"\n\r?\n")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_FOLD = re.compile(rb"\n[ \t]")

_REFUSALS: dict[int, type[LbError]] = {
    408: RequestTimedOut,
    431: HeadersTooLarge,
    501: NotImplementedYet,
}


def screen(held: bytes) -> None:
    """Refuse the head that *held* begins with, as far as it has come.

    h11 takes a line that ends in a bare LF and one that goes on in the next, which a proxy in
    front may have read in another way; and it measures only a head that comes in pieces. Raises
    h11.RemoteProtocolError.
    """
    found = _END_OF_HEAD.search(held)
    head = held[: found.end()] if found else held
    if len(head) > HEADER_BLOCK_LIMIT_BYTES:
        raise h11.RemoteProtocolError(
            f"the request's line and headers are larger than {HEADER_BLOCK_LIMIT_BYTES} bytes",
            error_status_hint=431,
        )
    if _BARE_LF.search(head):
        raise h11.RemoteProtocolError("a line of the head does not end in CR LF")
    if _FOLD.search(head):
        raise h11.RemoteProtocolError("a header goes on in a second line")


class StrictConnection(h11.Connection):
    """h11's side of a server, which takes fewer requests, and never asks its caller to wait."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=HEADER_BLOCK_LIMIT_BYTES)
        self.said = ""
        """Why the latest request was refused."""
        self.given_back = False
        """What comes from here on is somebody else's, and stays unparsed."""

    @property
    def ahead_bytes(self) -> int:
        """So much has come that belongs to no request yet, or to the next one."""
        return len(self.trailing_data[0])

    @property
    def is_far_ahead(self) -> bool:
        """Whether more has come of requests whose turn it is not than is kept for them."""
        read_whole = self.their_state in (h11.DONE, h11.MUST_CLOSE)
        return read_whole and self.ahead_bytes > AHEAD_LIMIT_BYTES

    @property
    def has_unread(self) -> bool:
        """Whether the client has sent what nobody will read, or may be sending it."""
        read_whole = self.their_state in (h11.IDLE, h11.DONE, h11.MUST_CLOSE, h11.CLOSED)
        return self.ahead_bytes > 0 or not read_whole

    def next_event(self) -> Any:  # noqa: ANN401 - as h11 has it
        """What has come next. Raises h11.RemoteProtocolError for what is refused."""
        if self.given_back:
            return h11.NEED_DATA
        try:
            if self.their_state is h11.IDLE:
                screen(self.trailing_data[0])
            elif self.their_state is h11.MUST_CLOSE and self.ahead_bytes:
                return h11.NEED_DATA  # behind its last request: that is answered, this passed over
            event = super().next_event()
            if isinstance(event, h11.Request):
                _refuse(event)
        except h11.RemoteProtocolError as error:
            self.said = str(error)
            raise
        # The next request is looked at when this one is over; until then its bytes stay here.
        return h11.NEED_DATA if event is h11.PAUSED else event


def _refuse(request: h11.Request) -> None:
    """Raise h11.RemoteProtocolError for a request that h11 takes, and that is not taken here."""
    if request.http_version not in (b"1.0", b"1.1"):
        version = request.http_version.decode()
        raise h11.RemoteProtocolError(f"HTTP/{version} is not spoken here, only HTTP/1.1")
    if has_two_lengths({name.decode("latin-1") for name, _ in request.headers}):
        raise h11.RemoteProtocolError("there are both Content-Length and Transfer-Encoding")


class Http1(H11Protocol):
    """hypercorn's HTTP/1.1, with a way to WebSockets and no other, and with errors in our shape."""

    connection: StrictConnection | PassingConnection

    def __init__(self, *args: Any) -> None:  # noqa: ANN401 - hypercorn's business
        super().__init__(*args)
        self.connection = StrictConnection()
        self._turn = trio.Lock()
        self.gives_back = False
        """The next request is somebody else's."""

    def give_back(self) -> None:
        """Leave unparsed what comes from here on, and what has come already."""
        cast("StrictConnection", self.connection).given_back = True

    async def refuse(self, status: int, said: str) -> None:
        """Answer a request that has not come whole, if nothing has been answered yet."""
        if self.connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._send_error(status, said)

    def framed(self, data: bytes) -> bytes | None:
        """*data* as the next bytes of the answer that is being sent; None if that is not known.

        A body is told in chunks (RFC 9112, 7.1), and h11, which keeps no count of them, is left
        out: it takes longer than the socket. What passes through a WebSocket has its frames.
        """
        stream = self.stream
        if isinstance(stream, PassingStream):
            return data if stream.is_open else None
        if (
            stream is None
            or stream.state is not ASGIHTTPState.RESPONSE
            or self.connection.our_state is not h11.SEND_BODY
            or stream.scope["method"] == "HEAD"
            or any(name == b"content-length" for name, _ in stream.response["headers"])
        ):
            return None
        if stream.scope["http_version"] == "1.0":
            return data  # it ends with the connection
        return b"%x\r\n%b\r\n" % (len(data), data) if data else None

    async def ask_whether_there(self) -> bool:
        """Send a ping, if this is a WebSocket; False if it is none."""
        if not isinstance(self.stream, PassingStream):
            return False
        if self.stream.handshake.accepted:
            await self.stream._send_wsproto_event(Ping())  # noqa: SLF001 - there is no other way
        return True

    async def _handle_events(self) -> None:
        async with self._turn:  # the next request is looked at by another task than new bytes
            await super()._handle_events()

    async def _maybe_recycle(self) -> None:
        await super()._maybe_recycle()
        idle = self.connection.our_state is h11.IDLE and not self.gives_back
        if idle and self.connection.ahead_bytes:
            self.task_group.spawn(self._handle_events)

    async def _check_protocol(self, event: h11.Request) -> None:
        """Leave the request what it is: hypercorn would turn to HTTP/2."""

    async def _create_stream(self, request: h11.Request) -> None:
        """Pass over `Upgrade`, as a server may, where there is nothing to upgrade to."""
        if opens_websocket(request):
            await self._create_websocket(request)
            return
        headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
        if len(headers) < len(request.headers):
            request = h11.Request(
                method=request.method,
                target=request.target,
                headers=headers,
                http_version=request.http_version,
            )
        await super()._create_stream(request)

    async def _create_websocket(self, request: h11.Request) -> None:
        """As hypercorn does, but with a connection that is asked what ours are asked."""
        self.stream = PassingStream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        self.connection = PassingConnection(cast("StrictConnection", self.connection))
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=plain_headers(request),
                http_version=request.http_version.decode(),
                method=request.method.decode(),
                raw_path=request.target,
                state=self.connection_state,
            )
        )
        await self.context.mark_request()

    async def _send_error_response(self, status_code: int) -> None:
        # one that bytes just pass refuses nothing
        await self._send_error(status_code, cast("StrictConnection", self.connection).said)

    async def _send_error(self, status: int, said: str) -> None:
        error = _REFUSALS.get(status, InvalidRequest)(f"The request is refused: {said}.")
        ours = (("x-request-id", uuid.uuid4().hex), ("connection", "close"), *OF_API)
        head, body = render_error(error, ours)
        own = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head.headers]
        headers = [*own, *self.config.response_headers("h11")]
        await self._send_h11_event(h11.Response(status_code=head.status, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())
