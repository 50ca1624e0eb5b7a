"""What a client was sent, as far as it is written down: status, size, perhaps its beginning."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from llmlb.http.downstream import Downstream, Head, Headers


@dataclass(slots=True)
class Counted:
    """*inner*, counting what goes through it: next to the face, so that nothing is missed."""

    inner: Downstream
    status: int | None = None
    """None: no head has been sent."""
    sent_bytes: int = 0
    """Of the body."""
    keeps_bytes: int = 0
    """So much of its beginning is kept."""
    first: bytearray = field(default_factory=bytearray)
    headers: Headers = ()

    @property
    def peer_gone(self) -> bool:
        return self.inner.peer_gone

    async def begin(self, head: Head) -> None:
        self.status, self.headers = head.status, head.headers
        await self.inner.begin(head)

    def send(self, data: bytes) -> Coroutine[Any, Any, None]:
        self.sent_bytes += len(data)
        if len(self.first) < self.keeps_bytes:
            self.first += data[: self.keeps_bytes - len(self.first)]
        return self.inner.send(data)

    def abort(self) -> None:
        self.inner.abort()
