"""What a body is that does not stand in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol


class Payload(Protocol):
    """A body of known size, read in pieces, as often as it has to be sent."""

    @property
    def size_bytes(self) -> int: ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body from its beginning."""
        ...
