"""How a request's body is taken in, whichever release of Quart reads it."""

from __future__ import annotations

from collections.abc import Generator

import trio
from werkzeug.exceptions import RequestEntityTooLarge


class RequestBody:
    """Holds one body until it is whole, or the error that refuses it; at most its limit.

    It stands in for Quart's own, which is another one with each release, and of which some
    hold any number of bytes before they look at the limit.
    """

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        """Named by Quart, which makes it."""
        self._data = bytearray()
        self._limit_bytes = max_content_length
        self._refusal: Exception | None = None
        self._settled = trio.Event()
        self._refuse_above_limit(expected_content_length or 0)

    @property
    def refused(self) -> bool:
        """What still comes is not kept."""
        return self._refusal is not None

    def append(self, data: bytes) -> None:
        """Take in one more piece."""
        self._refuse_above_limit(len(self._data) + len(data))
        if not self.refused:
            self._data += data

    def refuse(self, error: Exception) -> None:
        """Raise *error* in whoever reads the body, now or later."""
        self._refusal = error
        self._data.clear()
        self._settled.set()

    def set_complete(self) -> None:
        self._settled.set()

    def clear(self) -> None:
        """Drop what has been read."""
        self._data.clear()

    def __await__(self) -> Generator[object, None, bytes]:
        """The whole body. Raises what refused it. Cancel to bound the time."""
        yield from self._settled.wait().__await__()
        if self._refusal is not None:
            raise self._refusal
        return bytes(self._data)

    def _refuse_above_limit(self, n_bytes: int) -> None:
        if self._limit_bytes is not None and n_bytes > self._limit_bytes and not self.refused:
            self.refuse(RequestEntityTooLarge())
