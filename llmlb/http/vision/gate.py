"""What happens to the images of a request before it goes to an endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from llmlb.http.bodies import BodyBudget
from llmlb.http.vision.capability import endpoints_without
from llmlb.http.vision.checking import check_images
from llmlb.http.vision.finding import find_images
from llmlb.http.vision.part import ImagePart
from llmlb.http.vision.remote import RemoteImages
from llmlb.store.database import ThreadRunner
from llmlb.types import Capability, Endpoint, EndpointId

IN_THREAD_FROM_BYTES = 1024 * 1024
"""Looking through a body takes some 7 ms per MiB: a larger one must not hold up the others."""


class Settled(NamedTuple):
    """A body as an endpoint is to get it, and the endpoints that cannot read its images."""

    body: bytes
    without: frozenset[EndpointId]


@dataclass(frozen=True, slots=True)
class ImageGate:
    """Finds the images of a request, refuses what is wrong with them, and fetches what is due."""

    remote: RemoteImages
    budget: BodyBudget
    run_in_thread: ThreadRunner

    @asynccontextmanager
    async def settled(
        self, body: bytes, model: str, offering: Iterable[Endpoint]
    ) -> AsyncIterator[Settled]:
        """*body* with its images settled; what was fetched counts as held while it is in use.

        Raises InvalidRequest (UnsupportedCapability if no endpoint of *model* reads images),
        Overloaded.
        """
        parts = await self._find(body)
        held_bytes = 0

        def hold(n_bytes: int) -> bool:
            nonlocal held_bytes
            taken = self.budget.take(n_bytes)
            held_bytes += n_bytes if taken else 0
            return taken

        try:
            if not parts:
                yield Settled(body, frozenset())
                return
            without = endpoints_without(Capability.IMAGE_UNDERSTANDING, model, offering)
            await self._check(body, parts)
            yield Settled(await self.remote.settle(body, parts, hold), without)
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
