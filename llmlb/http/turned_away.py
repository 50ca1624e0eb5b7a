"""What a client is told that gets no lease."""

from __future__ import annotations

from typing import assert_never

from llmlb.actors.admission import (
    CapacityExceeded,
    Closed,
    ModelUnknown,
    NoneCapable,
    RateLimited,
    Refusal,
    Timeout,
)
from llmlb.errors import (
    LbError,
    ModelNotFound,
    NoCapableEndpoints,
    QueueFull,
    QueueTimeout,
    ShuttingDown,
    UpstreamRateLimited,
)

DRAINING_RETRY_AFTER_S = 5


def turned_away(result: Refusal, model: str, *, waited_s: float) -> LbError:
    """The error that a wait for *model* without a lease at its end is, after *waited_s* in all."""
    error: LbError
    match result:
        case ModelUnknown():
            error = ModelNotFound(model)
        case NoneCapable(retry_after_s):
            error = NoCapableEndpoints(
                f"Every endpoint of '{model[:200]}' is offline.", retry_after_s=retry_after_s
            )
        case RateLimited(retry_after_s):
            error = UpstreamRateLimited(
                f"Every endpoint of '{model[:200]}' is rate limited.", retry_after_s=retry_after_s
            )
        case CapacityExceeded(waiters, retry_after_s):
            error = QueueFull(
                f"{waiters} requests are waiting already; come back in {retry_after_s} s.",
                retry_after_s=retry_after_s,
            )
        case Timeout():
            error = QueueTimeout(f"No endpoint came free within {round(waited_s, 1):g} s.")
        case Closed():
            error = shutting_down()
        case _:
            assert_never(result)
    return error


def shutting_down() -> ShuttingDown:
    """For those who come while the balancer drains."""
    return ShuttingDown(
        "The balancer is shutting down; try again in a moment.",
        retry_after_s=DRAINING_RETRY_AFTER_S,
    )
