"""How long somebody may follow something, and what comes next for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from enum import Enum, auto
from typing import Generic, TypeVar

import trio

from llmlb.actors.feed import Batch, Subscription
from llmlb.actors.mailbox import ActorGone

P = TypeVar("P")

KEEP_ALIVE_EVERY_S = 15.0
"""So often it is seen whether the client is still there, and still welcome, whatever is told."""

TAKING_LIMIT_S = 30.0
"""A client that takes nothing for so long is not following any more."""


class BrokenOff(Exception):
    """There is no next piece, and the client must not take that for the end."""


class Over(Enum):
    """Why there is nothing more to come."""

    STOPPED = auto()
    """The balancer stops, and everything has been told."""
    BROKEN = auto()
    """The house has fallen, or has not waited for a slow client."""
    UNWELCOME = auto()
    """Whoever asked has logged out since, or may not see this any more."""


class Pieces(Generic[P]):
    """What one subscriber is to be told, piece by piece."""

    def __init__(self, subscription: Subscription, told: Callable[[Batch], Iterator[P]]) -> None:
        """*told* makes at least one piece of each batch."""
        self._subscription, self._told = subscription, told
        self._pieces: Iterator[P] = iter(())

    async def next(self) -> P | None:
        """The next piece, waited for; None at the end. Raises BrokenOff.

        Cancelled, it has taken nothing.
        """
        for piece in self._pieces:
            return piece
        try:
            batch = await self._subscription.next()
        except ActorGone:
            raise BrokenOff from None
        self._pieces = self._told(batch)
        return None if batch.over else next(self._pieces)


async def next_to_send(
    next_piece: Callable[[], Awaitable[P | None]],
    send_now: Callable[[P], bool],
    welcome: Callable[[], bool],
) -> P | Over | None:
    """The next piece that has to be waited for; None: nothing for a while.

    What the client takes at once is sent meanwhile, without a clock or a task for each piece: with
    many clients they are what costs. Nothing is told who is not *welcome*.
    """
    with trio.move_on_after(KEEP_ALIVE_EVERY_S):
        try:
            while (piece := await next_piece()) is not None:
                if not welcome():
                    return Over.UNWELCOME
                if not send_now(piece):
                    return piece
        except BrokenOff:
            return Over.BROKEN
        return Over.STOPPED
    return None if welcome() else Over.UNWELCOME
