"""An ASGI server that a test plays by hand: the lifespan, single HTTP requests, WebSockets."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

LOOPBACK = {"client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 32768)}
"""Part of a scope: only this machine is served before there are users and keys."""

PATIENCE_S = 100_000.0
"""Of a test. Time is virtual, so a hanging test ends as soon as this has been jumped over."""


class Refused(Exception):
    """The application reported a failure, which a server raises where it was reported."""


class Lifespan:
    """Starts and stops an application as hypercorn does."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._to_app, self._from_server = trio.open_memory_channel[Message](10)
        self._answered = trio.Event()
        self.raises = True
        """Whether a failure that the application reports is raised where it was reported."""
        self.said: list[Message] = []
        self.error: BaseException | None = None
        """What the application raised in the end."""
        self.ended = trio.Event()

    async def start(self, nursery: trio.Nursery) -> None:
        """Returns when the application has started, or has said why it cannot."""
        nursery.start_soon(self._run)
        await self._ask("lifespan.startup")

    async def stop(self) -> None:
        await self._ask("lifespan.shutdown")
        await self.until_ended()

    async def until_ended(self) -> None:
        with trio.fail_after(PATIENCE_S):
            await self.ended.wait()

    async def _ask(self, kind: str) -> None:
        self._answered = trio.Event()
        await self._to_app.send({"type": kind})
        with trio.fail_after(PATIENCE_S):
            await self._answered.wait()

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
        try:
            await self._app(scope, self._from_server.receive, self._hear)
        except trio.Cancelled:
            raise
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - a server survives all
            self.error = error
        self.ended.set()
        self._answered.set()

    async def _hear(self, message: Message) -> None:
        await trio.lowlevel.checkpoint()
        self.said.append(message)
        self._answered.set()
        if message["type"].endswith(".failed") and self.raises:
            raise Refused(message["message"])


class Request:
    """One HTTP request, from the connection's point of view."""

    def __init__(
        self,
        app: App,
        method: str,
        path: str,
        body: bytes | None = b"",
        *,
        headers: Mapping[str, str] | list[tuple[str, str]] | None = None,
        stuck_at: str | None = None,
        **scope: Any,
    ) -> None:
        """With a *body* of None nothing has been sent yet; `stuck_at` names a message that the
        client never takes."""
        pairs = list(headers.items()) if isinstance(headers, Mapping) else headers or []
        self._app = app
        self._stuck_at = stuck_at
        self._to_app, self._from_client = trio.open_memory_channel[Message](1000)
        self.answer: list[Message] = []
        self.times: list[float] = []
        self.over = trio.Event()
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.encode("latin-1"), text.encode("latin-1")) for name, text in pairs],
            "extensions": {},
            "state": {},
            **LOOPBACK,
            **scope,
        }
        if body is not None:
            self.send(body, more=False)

    def send(self, data: bytes, *, more: bool = True) -> None:
        """One more piece of the body."""
        self._to_app.send_nowait({"type": "http.request", "body": data, "more_body": more})

    def leave(self) -> None:
        """The client closes its connection."""
        self._to_app.send_nowait({"type": "http.disconnect"})

    async def run(self) -> Request:
        """Until the application has returned."""
        with trio.fail_after(PATIENCE_S):
            await self._app(self.scope, self._from_client.receive, self._hear)
        self.over.set()
        return self

    async def _hear(self, message: Message) -> None:
        self.answer.append(message)
        self.times.append(trio.current_time())
        if self._stuck_at == message["type"]:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()

    # -- the answer

    @property
    def status(self) -> int:
        assert self.answer, "there was no answer"
        assert self.answer[0]["type"] == "http.response.start"
        status: int = self.answer[0]["status"]
        return status

    @property
    def headers(self) -> dict[str, str]:
        pairs = [(n.decode(), v.decode("latin-1")) for n, v in self.answer[0]["headers"]]
        headers = {name.lower(): text for name, text in pairs}
        assert len(headers) == len(pairs), "a header is said twice"
        return headers

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.answer[1:])

    @property
    def complete(self) -> bool:
        """Whether the body has been ended in good order."""
        return bool(self.answer) and self.answer[-1].get("more_body") is False

    @property
    def json(self) -> Any:
        assert self.complete
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The OpenAI error that the answer is, as every error of every route has to be."""
        assert self.status >= 400, (self.status, self.body)
        assert self.headers["content-type"] == "application/json"
        assert self.headers["content-length"] == str(len(self.body))
        assert self.headers["x-request-id"]
        assert self.json.keys() == {"error"}
        error: dict[str, Any] = self.json["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        return error


class Upgrade(Request):
    """A request that would open a WebSocket.

    Its answer is told as one of HTTP: refused, as it is; opened, as 101, whose body has a line for
    each message, and which is complete once the WebSocket has been closed.
    """

    def __init__(self, app: App, path: str, **more: Any) -> None:
        super().__init__(app, "GET", path, None, **more)
        del self.scope["method"]
        self.scope |= {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "scheme": "ws",
            "subprotocols": [],
            "extensions": {"websocket.http.response": {}},
        }
        self._to_app.send_nowait({"type": "websocket.connect"})
        self.closed_with: int | None = None

    def say(self, text: str) -> None:
        self._to_app.send_nowait({"type": "websocket.receive", "bytes": None, "text": text})

    def leave(self) -> None:
        self._to_app.send_nowait({"type": "websocket.disconnect", "code": 1001})

    @property
    def messages(self) -> list[Any]:
        """What has been told so far."""
        assert self.status == 101, (self.status, self.body)
        return [json.loads(line) for line in self.body.splitlines()]

    async def _hear(self, message: Message) -> None:
        match message["type"]:
            case "websocket.accept":
                told = {"status": 101, "headers": message["headers"]}
                await super()._hear({"type": "http.response.start", **told})
            case "websocket.send":
                data = message["text"].encode() + b"\n"
                await super()._hear({"type": "http.response.body", "body": data, "more_body": True})
            case "websocket.close":
                self.closed_with = message["code"]
                await super()._hear({"type": "http.response.body", "more_body": False})
            case kind:
                await super()._hear({**message, "type": kind.removeprefix("websocket.")})
