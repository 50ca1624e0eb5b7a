"""The stream of events: who follows it is told what happens, for as long as it likes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from quart import Blueprint, Response, g, request

from llmlb.actors.mailbox import ActorGone
from llmlb.errors import LbError
from llmlb.events import Event
from llmlb.house import House
from llmlb.http.access.gate import Gate
from llmlb.http.access.needs import ANYBODY
from llmlb.http.asgi import ExchangeResponse
from llmlb.http.downstream import Downstream
from llmlb.http.dressed import Dressed
from llmlb.http.inbound import SendNow, caller_at_hand
from llmlb.http.manage.event_json import EventIds, kinds_asked
from llmlb.http.manage.following import Pieces
from llmlb.http.manage.places import Places
from llmlb.http.manage.streaming import STREAM_HEADERS, refuse, tell_to_the_end
from llmlb.http.response_policy import ResponsePolicy
from llmlb.http.turned_away import shutting_down


def event_stream(
    house: Callable[[], House],
    gate: Callable[[], Gate],
    ids: EventIds,
    places: Places,
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
        caller = caller_at_hand()
        welcome = partial(gate().still_admits, ANYBODY, caller)
        place = partial(places.one_for, caller)
        following = _Following(current, ids, place, after, kinds, welcome, g.request_id)
        return ExchangeResponse(
            lambda client: following.run(Dressed(client, policy()), client.send_now)
        )

    return routes


@dataclass(frozen=True, slots=True)
class _Following:
    """One client that follows the events. All that it holds is held in the scope of `run`."""

    house: House
    ids: EventIds
    place: Callable[[], AbstractContextManager[None]]
    after: int | None
    kinds: frozenset[type[Event]] | None
    welcome: Callable[[], bool]
    request_id: str

    async def run(self, downstream: Downstream, send_now: SendNow) -> None:
        """Until the client leaves, or the feed ends. Raises PeerGone."""
        ours = (("x-request-id", self.request_id),)
        try:
            with (
                self.place(),
                await self.house.feed.subscribe(self.after, self.kinds) as subscription,
            ):
                pieces = Pieces(subscription, self.ids.told)
                await tell_to_the_end(
                    self.ids.greeting(subscription.seq, reset=subscription.reset),
                    pieces.next,
                    downstream,
                    ours,
                    welcome=self.welcome,
                    send_now=send_now,
                )
        except (LbError, ActorGone) as error:  # there is no place
            refusal = error if isinstance(error, LbError) else shutting_down()
            await refuse(refusal, downstream, ours)
