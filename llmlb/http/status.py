"""Is the process alive, and is it ready for requests."""

from __future__ import annotations

from collections.abc import Callable

import trio
from quart import Blueprint
from quart.typing import ResponseReturnValue

from llmlb.errors import ShuttingDown, StoreUnavailable
from llmlb.house import House
from llmlb.store.faults import RETRY_AFTER_S


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
        # Nothing is asked of the database here, so that a disk that hangs does not hang this.
        condition = current.store.health.condition
        if not condition.well:
            for_s = int(trio.current_time() - condition.since_s)
            raise StoreUnavailable(
                f"The database is not available for {for_s} s ({condition.reason}). Requests are "
                "served; changes are refused, and statistics wait.",
                retry_after_s=RETRY_AFTER_S,
            )
        return {"status": "ready"}

    return routes
