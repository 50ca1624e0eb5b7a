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

    def tells(self, events: bytes) -> bool:
        """Whether any of these whole events may tell more than another token; sure if it says no.

        Asked only after `begun`: events that tell nothing need not be seen.
        """
        ...

    def see(self, piece: Piece) -> bool:
        """Take in one piece. True if it tells the usage alone, and so may be kept back."""
        ...


class Translator(Protocol):
    """Turns an endpoint's stream into the route's own, event by event. Sans-IO, bounded."""

    def feed(self, event: bytes, /) -> bytes:
        """What one whole event becomes; maybe nothing. Raises UpstreamFault."""
        ...

    def finish(self) -> bytes:
        """What is still to be said at the end; nothing if it has been said."""
        ...


class Dialect(Protocol):
    """The answers of one route."""

    @property
    def event_limit_bytes(self) -> int:
        """As much of one event of a stream is held until it is whole."""
        ...

    @property
    def only_json(self) -> bool:
        """Whether every plain answer that `answer` lets pass is JSON."""
        ...

    def meter(self, choices: int) -> Meter:
        """A meter for an endpoint's stream of *choices* choices."""
        ...

    def translator(self) -> Translator | None:
        """What translates the endpoint's stream; None: it is passed on as it comes."""
        ...

    def answer(self, body: bytes) -> tuple[bytes, Usage]:
        """An endpoint's plain 2xx body as the client is to get it, and what it cost.

        Raises UpstreamFault unless it is an answer.
        """
        ...

    def error_body(self, error: LbError, request_id: str) -> bytes:
        """The JSON body of a response that carries *error*."""
        ...

    def error_event(self, error: LbError) -> bytes:
        """The last event of a stream that broke."""
        ...
