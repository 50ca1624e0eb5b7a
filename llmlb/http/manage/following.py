"""How a client is told something piece by piece, for as long as it follows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from llmlb.errors import LbError
from llmlb.http.downstream import Downstream, Head, Headers
from llmlb.http.render import render_error

KEEP_ALIVE_EVERY_S = 15.0
KEEP_ALIVE = b": still there\n\n"

TAKING_LIMIT_S = 30.0
"""A client that takes nothing for so long is not following any more."""

STREAM_HEADERS: Headers = (
    ("content-type", "text/event-stream"),
    ("x-accel-buffering", "no"),
)


class BrokenOff(Exception):
    """There is no next piece, and the client must not take that for the end."""


async def tell_to_the_end(
    first: bytes,
    next_piece: Callable[[], Awaitable[bytes | None]],
    downstream: Downstream,
    ours: Headers,
) -> None:
    """Send *first*, and then piece after piece until there is none. Raises PeerGone.

    *next_piece* waits for the next one; cancelled, it has taken nothing. It may raise BrokenOff.
    A stream that breaks off is left visibly incomplete. *ours* are more headers.
    """
    piece: bytes | None = first
    begun = False
    while piece is not None:
        with trio.move_on_after(TAKING_LIMIT_S) as taking:
            if not begun:
                begun = True
                await downstream.begin(Head(200, (*STREAM_HEADERS, *ours)))
            await downstream.send(piece)
        if taking.cancelled_caught:
            downstream.abort()
            return
        piece = KEEP_ALIVE
        with trio.move_on_after(KEEP_ALIVE_EVERY_S):
            try:
                piece = await next_piece()
            except BrokenOff:
                downstream.abort()
                return


async def refuse(refusal: LbError, downstream: Downstream, ours: Headers) -> None:
    """Answer with *refusal* in place of a stream. Raises PeerGone."""
    head, body = render_error(refusal, ours)
    await downstream.begin(head)
    await downstream.send(body)
