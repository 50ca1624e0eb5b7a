"""The body of a request as Quart's views wait for it, whichever release of Quart there is."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from llmlb.http.intake.reception import Received


class RequestBody:
    """One body, once it is whole, or the error that refuses it.

    It stands in for Quart's own, which is another one with each release, and of which some
    hold any number of bytes before they look at the limit.
    """

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:  # noqa: ARG002
        """Named by Quart, which makes it; what is too long is judged where it comes in."""
        self._whole: Received = b""
        self._refusal: Exception | None = None
        self._settled = trio.Event()

    @property
    def settled(self) -> bool:
        """Whether what still comes is of no use."""
        return self._settled.is_set()

    def set(self, whole: Received) -> None:
        """Give *whole* to whoever waits for it, now or later."""
        self._whole = whole
        self._settled.set()

    def refuse(self, error: Exception) -> None:
        """Raise *error* in whoever reads the body, now or later."""
        self._refusal = error
        self._settled.set()

    def clear(self) -> None:
        """Drop what has been read."""
        self._whole = b""

    def __await__(self) -> Generator[object, None, Received]:
        """The whole body. Raises what refused it. Cancel to bound the time."""
        yield from self._settled.wait().__await__()
        if self._refusal is not None:
            raise self._refusal
        return self._whole
