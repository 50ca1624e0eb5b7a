"""A client's side of an exchange on which every head gets the headers that every answer has."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from llmlb.http.downstream import Downstream, Head
from llmlb.http.response_policy import ResponsePolicy


@dataclass(slots=True)
class Dressed:
    """*inner*, with what *policy* says added to its head."""

    inner: Downstream
    policy: ResponsePolicy
    path: str = ""
    """What the client asked for; left out for what no page of another origin may ask for."""
    origin: str | None = None

    @property
    def peer_gone(self) -> bool:
        return self.inner.peer_gone

    async def begin(self, head: Head) -> None:
        ours = self.policy.headers_for(self.path, self.origin, dict(head.headers))
        await self.inner.begin(Head(head.status, (*head.headers, *ours)))

    def send(self, data: bytes) -> Coroutine[Any, Any, None]:
        return self.inner.send(data)

    def abort(self) -> None:
        self.inner.abort()
