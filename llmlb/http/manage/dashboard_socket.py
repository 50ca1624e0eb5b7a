"""The WebSocket of the older product's dashboard: the same events, one message each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, cast

import trio
from quart import Blueprint, g, websocket

from llmlb.house import House
from llmlb.http.access.gate import Gate
from llmlb.http.access.needs import ANYBODY
from llmlb.http.inbound import caller_at_hand, send_now_of
from llmlb.http.manage.event_json import (
    HELLO,
    UNWELCOME,
    Messages,
    Shared,
    kinds_asked,
    messages,
)
from llmlb.http.manage.following import TAKING_LIMIT_S, Over, Pieces, next_to_send
from llmlb.http.manage.places import Places

if TYPE_CHECKING:
    from hypercorn.typing import WebsocketScope

GOING_AWAY, INTERNAL_ERROR, POLICY_VIOLATION = 1001, 1011, 1008
"""Codes that a WebSocket closes with (RFC 6455, 7.4.1)."""

_ENDS: dict[Over, tuple[int, str]] = {
    Over.STOPPED: (GOING_AWAY, "the balancer stops"),
    Over.BROKEN: (INTERNAL_ERROR, "the balancer has stopped, or you were too slow for its end"),
    Over.UNWELCOME: (POLICY_VIOLATION, UNWELCOME),
}
_TOO_SLOW = (POLICY_VIOLATION, "you take nothing")


def dashboard_socket(
    house: Callable[[], House], gate: Callable[[], Gate], places: Places
) -> Blueprint:
    """`/ws/dashboard`. Whoever may not open it is told by an answer of HTTP."""
    routes = Blueprint("dashboard_socket", __name__)
    shared = Shared(messages)

    @routes.websocket("/ws/dashboard")
    async def follow_by_socket() -> None:
        kinds = kinds_asked(websocket.args, older=True)
        caller = caller_at_hand()
        welcome = partial(gate().still_admits, ANYBODY, caller)
        with places.one_for(caller), await house().feed.subscribe(kinds=kinds) as subscription:
            pieces = Pieces(subscription, shared.told)
            await websocket.close(*await _told_to_the_end(pieces, welcome))

    return routes


async def _told_to_the_end(
    pieces: Pieces[Messages], welcome: Callable[[], bool]
) -> tuple[int, str]:
    """Pass on what happens; with which code the end comes, and why."""
    send_frames_now = send_now_of(cast("WebsocketScope", websocket.scope))

    def send_now(piece: Messages) -> bool:
        return send_frames_now(piece.frames)

    texts: Iterable[str] = (HELLO,)
    await websocket.accept(headers={"x-request-id": g.request_id})
    while True:
        with trio.move_on_after(TAKING_LIMIT_S) as taking:
            for text in texts:
                await websocket.send(text)
        if taking.cancelled_caught:
            return _TOO_SLOW
        match await next_to_send(pieces.next, send_now, welcome):
            case Over() as over:
                return _ENDS[over]
            case None:
                texts = ()
            case piece:
                texts = piece.texts
