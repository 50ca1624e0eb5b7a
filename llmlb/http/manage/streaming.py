"""How a client that follows something is told it piece by piece, as server-sent events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from llmlb.errors import LbError
from llmlb.http.downstream import Downstream, Head, Headers
from llmlb.http.inbound import SendNow, never
from llmlb.http.manage.event_json import farewell
from llmlb.http.manage.following import TAKING_LIMIT_S, Over, next_to_send
from llmlb.http.render import render_error

KEEP_ALIVE = b": still there\n\n"

STREAM_HEADERS: Headers = (
    ("content-type", "text/event-stream"),
    ("x-accel-buffering", "no"),
)


async def tell_to_the_end(
    first: bytes,
    next_piece: Callable[[], Awaitable[bytes | None]],
    downstream: Downstream,
    ours: Headers,
    *,
    welcome: Callable[[], bool],
    send_now: SendNow = never,
) -> None:
    """Send *first*, and then piece after piece until there is none. Raises PeerGone.

    *next_piece* waits for the next one; cancelled, it has taken nothing. It may raise BrokenOff.
    A stream that breaks off is left visibly incomplete. *ours* are more headers. Who is not
    *welcome* any more is told that, and nothing else.
    """
    piece = first
    begun = last = False
    while True:
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
        match await next_to_send(next_piece, send_now, welcome):
            case Over.STOPPED:
                return
            case Over.BROKEN:
                downstream.abort()
                return
            case Over.UNWELCOME:
                piece, last = farewell(), True
            case None:
                piece = KEEP_ALIVE
            case bytes() as piece:
                pass


async def refuse(refusal: LbError, downstream: Downstream, ours: Headers) -> None:
    """Answer with *refusal* in place of a stream. Raises PeerGone."""
    head, body = render_error(refusal, ours)
    await downstream.begin(head)
    await downstream.send(body)
