"""Is the process alive, and is it ready for requests."""

from __future__ import annotations

from collections.abc import Callable

import trio
from quart import Blueprint
from quart.typing import ResponseReturnValue

from llmlb.errors import ShuttingDown, StoreUnavailable
from llmlb.house import House

DATABASE_LIMIT_S = 2.0


def status(house: Callable[[], House]) -> Blueprint:
    """`/health` (the process answers) and `/ready` (it takes requests)."""
    routes = Blueprint("status", __name__)

    @routes.get("/health")
    async def health() -> ResponseReturnValue:
        return {"status": "ok"}

    @routes.get("/ready")
    async def ready() -> ResponseReturnValue:
        current = house()
        if not current.open:
            raise ShuttingDown("The balancer is draining.", retry_after_s=5)
        try:
            with trio.fail_after(DATABASE_LIMIT_S):
                await current.store.ping()
        except trio.TooSlowError:
            raise StoreUnavailable(
                f"The database did not answer within {DATABASE_LIMIT_S:g} s."
            ) from None
        return {"status": "ready"}

    return routes
