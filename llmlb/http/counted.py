"""What a client was sent, as far as it is written down: the status, and how many bytes."""

from __future__ import annotations

from dataclasses import dataclass

from llmlb.http.downstream import Downstream, Head


@dataclass(slots=True)
class Counted:
    """*inner*, counting what goes through it: next to the face, so that nothing is missed."""

    inner: Downstream
    status: int | None = None
    """None: no head has been sent."""
    sent_bytes: int = 0
    """Of the body."""

    @property
    def peer_gone(self) -> bool:
        return self.inner.peer_gone

    async def begin(self, head: Head) -> None:
        self.status = head.status
        await self.inner.begin(head)

    async def send(self, data: bytes) -> None:
        self.sent_bytes += len(data)
        await self.inner.send(data)

    def abort(self) -> None:
        self.inner.abort()
