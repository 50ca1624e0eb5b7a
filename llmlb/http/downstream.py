"""What the core needs of a face: a request as it came in, and a way to answer it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import trio
from msgspec import Struct

if TYPE_CHECKING:
    from llmlb.http.intake.form import Form

Headers = tuple[tuple[str, str], ...]

FAREWELL_LIMIT_S = 30.0
"""So long a client may take to take the error that ends its answer; then its answer is cut off."""


class PeerGone(Exception):
    """The client has left; nothing more can be sent to it."""


@dataclass(frozen=True, slots=True)
class Whence:
    """Both ends of the connection that a request came over, as the sockets say."""

    local: str | None
    peer: str | None
    secure: bool = False
    """Whether it is TLS."""


class Asked(Struct, frozen=True):
    """The head of one client request, and a way to its body, which is read once at most."""

    method: str
    path: str
    headers: Mapping[str, str]
    """By lower-case name; repeated ones joined with a comma."""
    request_id: str
    whence: Whence
    read: Callable[[], Awaitable[bytes | Form]]
    """Raises the LbError that refuses the body."""
    asked_path: str = ""
    """The client's own, where *path* is another one."""

    async def inbound(self) -> Inbound:
        """The whole request. Raises the LbError that refuses the body."""
        return Inbound(self.method, self.path, self.headers, await self.read(), self.request_id)


class Inbound(Struct, frozen=True):
    """One client request, read to its end."""

    method: str
    path: str
    headers: Mapping[str, str]
    """By lower-case name; repeated ones joined with a comma."""
    body: bytes | Form
    request_id: str


class Head(Struct, frozen=True):
    """Status and headers of an answer; lower-case names."""

    status: int
    headers: Headers


class Downstream(Protocol):
    """The client's side of one exchange.

    The face runs the exchange in a cancel scope of its own, and cancels it as soon as the
    client leaves; `peer_gone` tells that from a shutdown afterwards. When the exchange
    returns, the answer is complete, unless `abort` was called.
    """

    @property
    def peer_gone(self) -> bool:
        """Whether the client has left."""
        ...

    async def begin(self, head: Head) -> None:
        """Send status and headers. Once, before any `send`. Raises PeerGone."""
        ...

    def send(self, data: bytes) -> Coroutine[Any, Any, None]:
        """Send a piece of the body; returns when the client's side can take more.

        Awaited at once, and once. Raises PeerGone.
        """
        ...

    def abort(self) -> None:
        """End the answer so that the client cannot take it for a complete one."""
        ...


class Nobody:
    """In the place of a client that has left: whoever has something for it finds that out."""

    peer_gone = True

    async def begin(self, head: Head) -> None:  # noqa: ARG002
        """Raises PeerGone."""
        await trio.lowlevel.checkpoint()
        raise PeerGone

    async def send(self, data: bytes) -> None:  # noqa: ARG002
        """Raises PeerGone."""
        await trio.lowlevel.checkpoint()
        raise PeerGone

    def abort(self) -> None:
        """There is nothing to end."""


def size_of(body: bytes | Form) -> int:
    """How many bytes a request's body has; of a form, all its values together."""
    return len(body) if isinstance(body, bytes) else body.size_bytes
