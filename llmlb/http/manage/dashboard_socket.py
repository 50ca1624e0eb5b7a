"""The WebSocket of the older product's dashboard: the same events, one message each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import trio
from quart import Blueprint, g, websocket

from llmlb.actors.feed import Subscription
from llmlb.house import House
from llmlb.http.access.gate import Gate
from llmlb.http.access.needs import ANYBODY
from llmlb.http.inbound import caller_at_hand
from llmlb.http.manage.event_json import HELLO, UNWELCOME, kinds_asked, messages
from llmlb.http.manage.following import TAKING_LIMIT_S, Over, next_news

GOING_AWAY, INTERNAL_ERROR, POLICY_VIOLATION = 1001, 1011, 1008
"""Codes that a WebSocket closes with (RFC 6455, 7.4.1)."""

_ENDS: dict[Over, tuple[int, str]] = {
    Over.STOPPED: (GOING_AWAY, "the balancer stops"),
    Over.BROKEN: (INTERNAL_ERROR, "the balancer has stopped, or you were too slow for its end"),
    Over.UNWELCOME: (POLICY_VIOLATION, UNWELCOME),
}
_TOO_SLOW = (POLICY_VIOLATION, "you take nothing")


def dashboard_socket(house: Callable[[], House], gate: Callable[[], Gate]) -> Blueprint:
    """`/ws/dashboard`. Whoever may not open it is told by an answer of HTTP."""
    routes = Blueprint("dashboard_socket", __name__)

    @routes.websocket("/ws/dashboard")
    async def follow_by_socket() -> None:
        kinds = kinds_asked(websocket.args, older=True)
        welcome = partial(gate().still_admits, ANYBODY, caller_at_hand())
        with await house().feed.subscribe(kinds=kinds) as subscription:
            await websocket.close(*await _told_to_the_end(subscription, welcome))

    return routes


async def _told_to_the_end(
    subscription: Subscription, welcome: Callable[[], bool]
) -> tuple[int, str]:
    """Pass on what happens; with which code the end comes, and why."""
    texts: Iterable[str] = (HELLO,)
    await websocket.accept(headers={"x-request-id": g.request_id})
    while True:
        with trio.move_on_after(TAKING_LIMIT_S) as taking:
            for text in texts:
                await websocket.send(text)
        if taking.cancelled_caught:
            return _TOO_SLOW
        match await next_news(subscription, welcome):
            case Over() as over:
                return _ENDS[over]
            case None:
                texts = ()
            case batch:
                texts = messages(batch)
