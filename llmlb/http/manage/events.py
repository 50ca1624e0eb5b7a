"""The stream of events: who follows it is told what happens, for as long as it likes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import trio
from quart import Blueprint, Response, g, request

from llmlb.actors.feed import Subscription
from llmlb.actors.mailbox import ActorGone
from llmlb.errors import LbError
from llmlb.events import Event
from llmlb.house import House
from llmlb.http.access.gate import Gate
from llmlb.http.access.needs import ANYBODY
from llmlb.http.asgi import ExchangeResponse
from llmlb.http.downstream import Downstream, Head, Headers
from llmlb.http.dressed import Dressed
from llmlb.http.inbound import caller_at_hand
from llmlb.http.manage.event_json import KEEP_ALIVE, EventIds, farewell, kinds_asked
from llmlb.http.manage.following import TAKING_LIMIT_S, Over, next_news
from llmlb.http.render import render_error
from llmlb.http.response_policy import ResponsePolicy
from llmlb.http.turned_away import shutting_down

_HEADERS: Headers = (
    ("content-type", "text/event-stream"),
    ("x-accel-buffering", "no"),
)


def event_stream(
    house: Callable[[], House],
    gate: Callable[[], Gate],
    ids: EventIds,
    policy: Callable[[], ResponsePolicy] = ResponsePolicy,
) -> Blueprint:
    """`/dashboard/events`, to be registered under each management prefix."""
    routes = Blueprint("events", __name__)

    @routes.get("/dashboard/events")
    async def follow_events() -> Response:
        current, kinds = house(), kinds_asked(request.args)
        if request.method == "HEAD":
            return Response(b"", 200, dict(_HEADERS))
        after = ids.seq_of(request.headers.get("last-event-id"))
        welcome = partial(gate().still_admits, ANYBODY, caller_at_hand())
        following = _Following(current, ids, after, kinds, welcome, g.request_id)
        return ExchangeResponse(lambda client: following.run(Dressed(client, policy())))

    return routes


@dataclass(frozen=True, slots=True)
class _Following:
    """One client that follows the events. All that it holds is held in the scope of `run`."""

    house: House
    ids: EventIds
    after: int | None
    kinds: frozenset[type[Event]] | None
    welcome: Callable[[], bool]
    request_id: str

    async def run(self, downstream: Downstream) -> None:
        """Until the client leaves, or the feed ends. Raises PeerGone."""
        ours = (("x-request-id", self.request_id),)
        try:
            subscription = await self.house.feed.subscribe(self.after, self.kinds)
        except (LbError, ActorGone) as error:
            refusal = error if isinstance(error, LbError) else shutting_down()
            head, body = render_error(refusal, ours)
            await downstream.begin(head)
            await downstream.send(body)
            return
        with subscription:
            if not await self._told_to_the_end(subscription, downstream, ours):
                downstream.abort()

    async def _told_to_the_end(
        self, subscription: Subscription, downstream: Downstream, ours: Headers
    ) -> bool:
        """Pass on what happens; False if the stream breaks off. Raises PeerGone."""
        piece = self.ids.greeting(subscription.seq, reset=subscription.reset)
        begun = last = False
        while True:
            with trio.move_on_after(TAKING_LIMIT_S) as taking:
                if not begun:
                    begun = True
                    await downstream.begin(Head(200, (*_HEADERS, *ours)))
                await downstream.send(piece)
            if taking.cancelled_caught:
                return False
            if last:
                return True
            match await next_news(subscription, self.welcome):
                case Over.STOPPED:
                    return True
                case Over.BROKEN:
                    return False
                case Over.UNWELCOME:
                    piece, last = farewell(), True
                case None:
                    piece = KEEP_ALIVE
                case batch:
                    piece = self.ids.told(batch)
