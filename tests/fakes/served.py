"""A running application, its endpoints, and a way to send it requests."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import trio

from llmlb.http.application import LlmlbApp
from tests.fakes.asgi import Lifespan, Request, Upgrade
from tests.fakes.house import Scene
from tests.fakes.lane import LaneRequest
from tests.fakes.upstream import FakeUpstream

BY_LANE = os.environ.get("LLMLB_LANE") != "off"
"""Whether requests for the lane take it; the others, and all if not, come by ASGI."""

_OF_LANE = {"headers", "client", "server"}
_FRAMING = {"content-length", "transfer-encoding", "connection", "upgrade", "expect"}


def _frames(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> bool:
    """Whether *headers* say themselves how the request stands on its connection."""
    names = headers if isinstance(headers, Mapping) else (name for name, _ in headers)
    return not _FRAMING.isdisjoint(name.lower() for name in names)


class Served:
    """Plays the server under *app*."""

    def __init__(self, app: LlmlbApp, upstream: FakeUpstream, nursery: trio.Nursery) -> None:
        self.app, self.upstream, self._nursery = app, upstream, nursery
        self.lifespan = Lifespan(app)

    @property
    def scene(self) -> Scene:
        """What is behind the face."""
        return Scene(self.app.house, self.upstream, self.app.exchange)

    def request(self, method: str, path: str, body: bytes | None = b"", **more: Any) -> Request:
        """One request, which has still to be let run; the method `WS` opens a WebSocket."""
        if method == "WS":
            return Upgrade(self.app, path, **more)
        by_lane = BY_LANE and method == "POST" and more.keys() <= _OF_LANE
        if by_lane and body is not None and not _frames(more.get("headers") or ()):
            return LaneRequest(self.app, path, body, **more)
        return Request(self.app, method, path, body, **more)

    async def __call__(
        self, method: str, path: str, body: bytes | None = b"", **more: Any
    ) -> Request:
        """One request and its whole answer."""
        return await self.request(method, path, body, **more).run()

    async def post(self, path: str, body: bytes = b"{}", **more: Any) -> Request:
        return await self("POST", path, body, **more)

    def begin(self, request: Request) -> Request:
        """Let *request* run beside the test."""
        self._nursery.start_soon(request.run)
        return request
