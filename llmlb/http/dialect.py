"""What the core has to know of a route's answers: how they begin, end, fail and are counted."""

from __future__ import annotations

from typing import Protocol

from llmlb.accounting import Usage
from llmlb.errors import LbError
from llmlb.http.sse import Piece


class Meter(Protocol):
    """Follows one stream, event by event. Sans-IO, bounded."""

    @property
    def begun(self) -> bool:
        """The first content has come: what follows is for the client, come what may."""
        ...

    @property
    def done(self) -> bool:
        """The stream has said that it is at its end."""
        ...

    @property
    def complete(self) -> bool:
        """The stream may end here."""
        ...

    @property
    def error(self) -> str | None:
        """What the endpoint said instead of going on."""
        ...

    @property
    def usage(self) -> Usage: ...

    def see(self, piece: Piece) -> bool:
        """Take in one piece. True if it tells the usage alone, and so may be kept back."""
        ...


class Dialect(Protocol):
    """The answers of one route."""

    def meter(self, choices: int) -> Meter:
        """A meter for a stream of *choices* choices."""
        ...

    def read_answer(self, body: bytes) -> Usage:
        """Check a plain 2xx body. Raises UpstreamFault unless it is an answer."""
        ...

    def error_event(self, error: LbError) -> bytes:
        """The last event of a stream that broke."""
        ...
