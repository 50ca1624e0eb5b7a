"""How a client that follows something is told it piece by piece, as server-sent events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from llmlb.errors import LbError
from llmlb.http.downstream import Downstream, Head, Headers
from llmlb.http.manage.event_json import farewell
from llmlb.http.manage.following import KEEP_ALIVE_EVERY_S, TAKING_LIMIT_S
from llmlb.http.render import render_error

KEEP_ALIVE = b": still there\n\n"

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
    *,
    welcome: Callable[[], bool],
) -> None:
    """Send *first*, and then piece after piece until there is none. Raises PeerGone.

    *next_piece* waits for the next one; cancelled, it has taken nothing. It may raise BrokenOff.
    A stream that breaks off is left visibly incomplete. *ours* are more headers. Who is not
    *welcome* any more is told that, and nothing else.
    """
    piece: bytes | None = first
    begun = last = False
    while piece is not None:
        with trio.move_on_after(TAKING_LIMIT_S) as taking:
            if not begun:
                begun = True
                await downstream.begin(Head(200, (*STREAM_HEADERS, *ours)))
            await downstream.send(piece)
        if taking.cancelled_caught:
            downstream.abort()
            return
        if last:
            return
        piece = KEEP_ALIVE
        with trio.move_on_after(KEEP_ALIVE_EVERY_S):
            try:
                piece = await next_piece()
            except BrokenOff:
                downstream.abort()
                return
        if piece is not None and not welcome():
            piece, last = farewell(), True


async def refuse(refusal: LbError, downstream: Downstream, ours: Headers) -> None:
    """Answer with *refusal* in place of a stream. Raises PeerGone."""
    head, body = render_error(refusal, ours)
    await downstream.begin(head)
    await downstream.send(body)
