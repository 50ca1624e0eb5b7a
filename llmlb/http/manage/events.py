"""The stream of events: who follows it is told what happens, for as long as it likes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio
from quart import Blueprint, Response, g, request

from llmlb.actors.feed import Subscription
from llmlb.actors.mailbox import ActorGone
from llmlb.errors import LbError
from llmlb.house import House
from llmlb.http.asgi import ExchangeResponse
from llmlb.http.downstream import Downstream, Head, Headers
from llmlb.http.dressed import Dressed
from llmlb.http.manage.event_json import KEEP_ALIVE, EventIds
from llmlb.http.render import render_error
from llmlb.http.response_policy import ResponsePolicy
from llmlb.http.turned_away import shutting_down

KEEP_ALIVE_EVERY_S = 15.0

TAKING_LIMIT_S = 30.0
"""A client that takes nothing for so long is not following any more."""

_HEADERS: Headers = (
    ("content-type", "text/event-stream"),
    ("x-accel-buffering", "no"),
)


def event_stream(
    house: Callable[[], House],
    instance_id: str,
    policy: Callable[[], ResponsePolicy] = ResponsePolicy,
) -> Blueprint:
    """`/dashboard/events`, to be registered under each management prefix."""
    routes, ids = Blueprint("events", __name__), EventIds(instance_id)

    @routes.get("/dashboard/events")
    async def follow_events() -> Response:
        current = house()
        if request.method == "HEAD":
            return Response(b"", 200, dict(_HEADERS))
        after = ids.seq_of(request.headers.get("last-event-id"))
        following = _Following(current, ids, after, g.request_id)
        return ExchangeResponse(lambda client: following.run(Dressed(client, policy())))

    return routes


@dataclass(frozen=True, slots=True)
class _Following:
    """One client that follows the events. All that it holds is held in the scope of `run`."""

    house: House
    ids: EventIds
    after: int | None
    request_id: str

    async def run(self, downstream: Downstream) -> None:
        """Until the client leaves, or the feed ends. Raises PeerGone."""
        ours = (("x-request-id", self.request_id),)
        try:
            subscription = await self.house.feed.subscribe(self.after)
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
        begun = False
        while True:
            with trio.move_on_after(TAKING_LIMIT_S) as taking:
                if not begun:
                    begun = True
                    await downstream.begin(Head(200, (*_HEADERS, *ours)))
                await downstream.send(piece)
            if taking.cancelled_caught:
                return False
            piece = KEEP_ALIVE
            with trio.move_on_after(KEEP_ALIVE_EVERY_S):
                try:
                    batch = await subscription.next()
                except ActorGone:  # the house has fallen, or has not waited for a slow client
                    return False
                if not batch.events:
                    return True
                piece = self.ids.told(batch)
