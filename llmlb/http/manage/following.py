"""How long somebody may follow the events, and what comes next for them."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

import trio

from llmlb.actors.feed import Batch, Subscription
from llmlb.actors.mailbox import ActorGone

KEEP_ALIVE_EVERY_S = 15.0
"""After so long without anything to tell, it is seen whether the client is still there, and still
welcome."""

TAKING_LIMIT_S = 30.0
"""A client that takes nothing for so long is not following any more."""


class Over(Enum):
    """Why there is nothing more to come."""

    STOPPED = auto()
    """The balancer stops, and everything has been told."""
    BROKEN = auto()
    """The house has fallen, or has not waited for a slow client."""
    UNWELCOME = auto()
    """Whoever asked has logged out since, or may not see this any more."""


async def next_news(subscription: Subscription, welcome: Callable[[], bool]) -> Batch | Over | None:
    """What is to be told next; None: nothing for a while. Nothing is told who is not *welcome*."""
    batch: Batch | None = None
    with trio.move_on_after(KEEP_ALIVE_EVERY_S):
        try:
            batch = await subscription.next()
        except ActorGone:
            return Over.BROKEN
    if batch is not None and batch.over:
        return Over.STOPPED
    return batch if welcome() else Over.UNWELCOME
