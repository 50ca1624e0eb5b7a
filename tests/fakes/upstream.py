"""Endpoints that a test scripts, behind the interface of the upstream client, in virtual time."""

from __future__ import annotations

import contextlib
import io
import json as jsonlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import trio

from llmlb.http.payload import Payload
from llmlb.http.upstream.client import Headers, PoolStatistics, UpstreamClient
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.types import Endpoint, EndpointId

Piece = bytes | float | BaseException
"""Of a scripted body: bytes to send, seconds to wait, or an error to raise."""


@dataclass(slots=True, eq=False)
class SeenCall:
    """One call as the endpoint saw it, and what became of it."""

    endpoint: Endpoint
    method: str
    path: str
    headers: dict[str, str]
    """By lower-case name, as the caller passed them; a repeated name keeps its last value."""
    body: bytes | None
    opened_at: float
    """trio.current_time() when the call was made."""
    answered_at: float | None = None
    """When the head of the answer was given to the caller."""
    closed_at: float | None = None
    """When the caller left the call, in whatever way."""
    sent: list[bytes] = field(default_factory=list)
    """The chunks that the caller has taken."""
    read_to_end: bool = False
    cancelled: bool = False
    """The caller was cancelled: before the head, or while it held the call."""

    @property
    def closed(self) -> bool:
        return self.closed_at is not None

    @property
    def json(self) -> Any:
        """The request's body as JSON."""
        assert self.body is not None, "this call had no body"
        return jsonlib.loads(self.body)


@dataclass
class Answer:
    """What a handler answers. In *chunks* a float waits, an exception is raised."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: Iterable[Piece] | AsyncIterable[bytes] = ()


Handler = Callable[[SeenCall], Awaitable[Answer]]


def json_answer(value: object, status: int = 200, **headers: Any) -> Answer:
    """A plain JSON answer; underscores in header names become hyphens."""
    extra = {name.replace("_", "-"): str(text) for name, text in headers.items()}
    body = jsonlib.dumps(value).encode()
    return Answer(status, {"content-type": "application/json", **extra}, [body])


def sse_answer(*pieces: object, done: bool = True, status: int = 200) -> Answer:
    """An event stream, one chunk per event: a dict or list is sent as `data: <json>`, bytes as
    they are, a number waits, an exception is raised."""
    chunks: list[Piece] = []
    for piece in pieces:
        match piece:
            case bytes() | BaseException():
                chunks.append(piece)
            case int() | float():
                chunks.append(float(piece))
            case _:
                chunks.append(b"data: " + jsonlib.dumps(piece).encode() + b"\n\n")
    if done:
        chunks.append(b"data: [DONE]\n\n")
    return Answer(status, {"content-type": "text/event-stream"}, chunks)


def replies(answer: Answer | BaseException, *, after_s: float = 0) -> Handler:
    """A handler that always gives this answer (or raises this), *after_s* seconds later."""

    async def handle(call: SeenCall) -> Answer:
        if after_s:
            await trio.sleep(after_s)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return handle


def in_turn(*answers: Answer | BaseException) -> Handler:
    """A handler that gives these answers one after the other, and then the last one again."""
    left = list(answers)

    async def handle(call: SeenCall) -> Answer:
        answer = left.pop(0) if len(left) > 1 else left[0]
        await trio.lowlevel.checkpoint()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return handle


async def hangs(call: SeenCall) -> Answer:
    """A handler that never answers."""
    await trio.sleep_forever()
    raise AssertionError("unreachable")


def refused() -> UpstreamFault:
    return UpstreamFault(FaultKind.UNREACHABLE, "Connection refused.")


def disconnected() -> UpstreamFault:
    return UpstreamFault(FaultKind.DISCONNECTED, "The answer was cut short.")


def make_endpoint(base_url: str = "http://a:1", **fields: Any) -> Endpoint:
    """An endpoint whose id and name are made from its URL, unless given."""
    name = base_url.partition("://")[2] or base_url
    fields.setdefault("id", EndpointId(f"id-{name}"))
    fields.setdefault("name", name)
    fields.setdefault("registered_at", datetime(2026, 1, 1, tzinfo=UTC))
    return Endpoint(base_url=base_url, **fields)


class FakeUpstream:
    """An UpstreamClient whose endpoints are handlers, by base URL, method and path.

    A path without a handler is a 404 on a known base URL; an unknown base URL refuses.
    """

    def __init__(self) -> None:
        self._handlers: dict[tuple[str, str, str], Handler] = {}
        self.calls: list[SeenCall] = []
        """All calls, in the order in which they were made."""
        self.forgotten: list[EndpointId] = []
        self.closed = False

    def on(self, base_url: str, method: str, path: str, handler: Handler | Answer) -> None:
        """Answer *method* *path* on *base_url* by *handler*; a later one replaces an earlier."""
        if isinstance(handler, Answer):
            handler = replies(handler)
        self._handlers[base_url, method, path] = handler

    def get(self, base_url: str, path: str, value: object, **headers: Any) -> None:
        """Answer GET *path* with this JSON."""
        self.on(base_url, "GET", path, json_answer(value, 200, **headers))

    def down(self, base_url: str) -> None:
        """Refuse every connection to *base_url* from now on."""
        self._handlers = {k: v for k, v in self._handlers.items() if k[0] != base_url}

    def seen(self, path: str, base_url: str | None = None) -> list[SeenCall]:
        """The calls of *path*, on *base_url* or anywhere."""
        return [
            call
            for call in self.calls
            if call.path == path and base_url in (None, call.endpoint.base_url)
        ]

    @property
    def open_calls(self) -> list[SeenCall]:
        """The calls that nobody has closed yet."""
        return [call for call in self.calls if not call.closed]

    @contextlib.asynccontextmanager
    async def call(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        *,
        headers: Headers = (),
        body: bytes | Payload | None = None,
    ) -> AsyncIterator[_FakeResponse]:
        sent = {name.lower(): value for name, value in headers}
        whole = body if body is None or isinstance(body, bytes) else await _read(body)
        call = SeenCall(endpoint, method, path, sent, whole, trio.current_time())
        self.calls.append(call)
        try:
            await trio.lowlevel.checkpoint()
            answer = await self._answer(call)
            call.answered_at = trio.current_time()
            yield _FakeResponse(answer, call)
        except trio.Cancelled:
            call.cancelled = True
            raise
        finally:
            call.closed_at = trio.current_time()

    async def _answer(self, call: SeenCall) -> Answer:
        base_url = call.endpoint.base_url
        handler = self._handlers.get((base_url, call.method, call.path))
        if handler is not None:
            return await handler(call)
        if all(known != base_url for known, _, _ in self._handlers):
            raise refused()
        return json_answer({"error": {"message": "not found", "code": 404}}, status=404)

    async def forget(self, endpoint_id: EndpointId) -> None:
        await trio.lowlevel.checkpoint()
        self.forgotten.append(endpoint_id)

    def statistics(self) -> Mapping[EndpointId, PoolStatistics]:
        return {}  # there are no connections

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.closed = True


async def _read(body: Payload) -> bytes:
    """All of it, held once: some tests measure memory."""
    received = io.BytesIO()
    async for piece in body.chunks():
        received.write(piece)
    assert received.tell() == body.size_bytes, "the length told is that of the body"
    return received.getvalue()


class _FakeResponse:
    """The head of one answer, and its body as it is read."""

    def __init__(self, answer: Answer, call: SeenCall) -> None:
        self._call = call
        self._chunks = answer.chunks
        self._iterator: Any = None
        self.status = answer.status
        self.headers: Mapping[str, str] = {k.lower(): v for k, v in answer.headers.items()}

    def chunks(self) -> AsyncIterator[bytes]:
        if self._iterator is None:
            asynchronous = isinstance(self._chunks, AsyncIterable)
            self._iterator = aiter(self._chunks) if asynchronous else iter(self._chunks)  # type: ignore[arg-type]
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        assert not self._call.closed, "the body is read after the call was closed"
        chunk = await self._next_chunk()
        if chunk is None:
            self._call.read_to_end = True
            raise StopAsyncIteration
        self._call.sent.append(chunk)
        return chunk

    async def _next_chunk(self) -> bytes | None:
        if hasattr(self._iterator, "__anext__"):
            taken: bytes | None = await anext(self._iterator, None)
            return taken
        for piece in self._iterator:
            match piece:
                case bytes():
                    return piece
                case BaseException():
                    raise piece
                case seconds:
                    await trio.sleep(seconds)
        return None


def _conforms(fake: FakeUpstream) -> UpstreamClient:
    """For the type checker: the fake is an upstream client."""
    return fake
