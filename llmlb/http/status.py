"""Is the process alive, and is it ready for requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio
from quart import Blueprint
from quart.typing import ResponseReturnValue

from llmlb.errors import ShuttingDown
from llmlb.house import House
from llmlb.store.health import Condition


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
        # It is still ready without its database: requests are served as before, and there is
        # no second balancer that an orchestrator could send them to instead. Nothing is asked
        # of the database here, so that a disk that hangs does not hang this.
        condition = current.store.health.condition
        return {
            "status": "ready" if condition.well else "degraded",
            "database": _database_json(condition),
        }

    return routes


def _database_json(condition: Condition) -> dict[str, Any]:
    return {
        "status": "ok" if condition.well else "unavailable",
        "reason": condition.reason,
        "for_s": None if condition.well else int(trio.current_time() - condition.since_s),
    }
