"""The stream of events: who follows it is told what happens, for as long as it likes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from quart import Blueprint, Response, g, request

from llmlb.actors.feed import Batch, Subscription
from llmlb.actors.mailbox import ActorGone
from llmlb.errors import LbError
from llmlb.events import Event
from llmlb.house import House
from llmlb.http.access.gate import Gate
from llmlb.http.access.needs import ANYBODY
from llmlb.http.asgi import ExchangeResponse
from llmlb.http.downstream import Downstream
from llmlb.http.dressed import Dressed
from llmlb.http.inbound import caller_at_hand
from llmlb.http.manage.event_json import EventIds, kinds_asked
from llmlb.http.manage.streaming import STREAM_HEADERS, BrokenOff, refuse, tell_to_the_end
from llmlb.http.response_policy import ResponsePolicy
from llmlb.http.turned_away import shutting_down


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
            return Response(b"", 200, dict(STREAM_HEADERS))
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
            await refuse(refusal, downstream, ours)
            return
        with subscription:
            greeting = self.ids.greeting(subscription.seq, reset=subscription.reset)
            pieces: Iterator[bytes] = iter(())

            async def following() -> bytes | None:
                nonlocal pieces
                if (piece := next(pieces, None)) is None:
                    pieces = self.ids.told(batch := await _next(subscription))
                    piece = None if batch.over else next(pieces)
                return piece

            await tell_to_the_end(greeting, following, downstream, ours, welcome=self.welcome)


async def _next(subscription: Subscription) -> Batch:
    """What has happened. Raises BrokenOff."""
    try:
        return await subscription.next()
    except ActorGone:  # the house has fallen, or has not waited for a slow client
        raise BrokenOff from None
