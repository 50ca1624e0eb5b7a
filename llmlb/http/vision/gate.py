"""What happens to the images of a request before it goes to an endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from llmlb.http.bodies import BodyBudget
from llmlb.http.vision.checking import check_images
from llmlb.http.vision.finding import find_images
from llmlb.http.vision.part import ImagePart
from llmlb.http.vision.remote import RemoteImages
from llmlb.store.database import ThreadRunner

IN_THREAD_FROM_BYTES = 1024 * 1024
"""Looking through a body takes some 7 ms per MiB: a larger one must not hold up the others."""


@dataclass(frozen=True, slots=True)
class ImageGate:
    """Finds the images of a request, refuses what is wrong with them, and fetches what is due."""

    remote: RemoteImages
    budget: BodyBudget
    run_in_thread: ThreadRunner

    async def look(self, body: bytes) -> list[ImagePart]:
        """The images of *body*, all of them fit to pass. Raises InvalidRequest."""
        parts = await self._find(body)
        if parts:
            await self._check(body, parts)
        return parts

    @asynccontextmanager
    async def settled(self, body: bytes, parts: Sequence[ImagePart]) -> AsyncIterator[bytes]:
        """*body* with its images as an endpoint is to get them.

        What was fetched counts as held while it is in use. Raises InvalidRequest, Overloaded.
        """
        held_bytes = 0

        def hold(n_bytes: int) -> bool:
            nonlocal held_bytes
            taken = self.budget.take(n_bytes)
            held_bytes += n_bytes if taken else 0
            return taken

        try:
            yield await self.remote.settle(body, parts, hold)
        finally:
            self.budget.give_back(held_bytes)

    async def _find(self, body: bytes) -> list[ImagePart]:
        if len(body) < IN_THREAD_FROM_BYTES:
            return find_images(body)
        return await self.run_in_thread(lambda: find_images(body))

    async def _check(self, body: bytes, parts: list[ImagePart]) -> None:
        if len(body) < IN_THREAD_FROM_BYTES:
            check_images(parts)
        else:
            await self.run_in_thread(lambda: check_images(parts))
