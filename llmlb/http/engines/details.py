"""Asking about models one by one, without ever becoming a load of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from itertools import islice

import trio

from llmlb.types import Model

MAX_MODELS = 64
AT_ONCE = 4


async def for_each_model(
    models: Iterable[Model], look: Callable[[Model], Awaitable[None]], *, within_s: float
) -> None:
    """Call *look* for the first MAX_MODELS models, AT_ONCE at a time, for *within_s* in all.

    What *look* has noted when the time is over stands; the rest is not asked.
    """
    left = islice(models, MAX_MODELS)

    async def work() -> None:
        for model in left:
            await look(model)

    with trio.move_on_after(within_s):
        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(work)
