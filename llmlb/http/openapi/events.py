"""What is said of the stream of events: each kind, as its class tells it."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import get_args

from llmlb.actors.feed import KEPT_EVENTS, KEPT_REQUESTS
from llmlb.errors import Overloaded
from llmlb.events import Event
from llmlb.http.manage.following import KEEP_ALIVE_EVERY_S
from llmlb.http.openapi.management import operator
from llmlb.http.openapi.route import Answer, Parameter, Route, event_stream

_ABOUT = f"""\
Each event is a JSON object with its `type`, `seq` (its number since the start), `at` (UTC) and \
`data`; what is about an endpoint has `runtime_id`, too, the older product's word for \
`endpoint_id`. There is no state in them: look at `/api/endpoints` once the stream has begun.

A stream begins with `connected`, or with `reset` if `Last-Event-ID` is not known any more (the \
newest {KEPT_EVENTS} events are kept, until the process ends): look at everything anew then. Of \
what comes with every request (`RequestFinished`, `TpsUpdated`) the newest {KEPT_REQUESTS} are \
kept, apart from the others. A client that is too slow, or that comes back too late for them, gets \
`dropped` with the `count` of events that it has missed. `LoadChanged` and `StatisticsTick` say \
how things are: they have no `id`, and only the newest is told. A comment comes every \
{KEEP_ALIVE_EVERY_S:g} s in which nothing is told. The last event is `ServerStopping`; a session \
that has ended ends the stream with `unauthorized`.

The same is told on the WebSocket `/ws/dashboard`, one message each, where `EndpointRegistered` \
and `EndpointRemoved` are called `NodeRegistered` and `NodeRemoved`. A page gives it the token of \
a session as `?token=`, or a cookie."""


def _kinds() -> str:
    """Every kind of event as a line of a list."""
    lines = []
    for kind in get_args(Event):
        told = inspect.getdoc(kind) or ""
        data = ", ".join(f"`{field.name}`" for field in fields(kind))
        lines.append(f"- `{kind.__name__}`{f' ({data})' if data else ''}: {told}")
    return "\n".join(lines)


EVENTS: tuple[Route, ...] = (
    operator(
        "GET",
        "/dashboard/events",
        "follow_events",
        "What happens, as it happens",
        Answer(
            200,
            "Until the client leaves or the balancer stops.",
            (event_stream("Events, one JSON object each."),),
        ),
        says=f"{_ABOUT}\n\n{_kinds()}",
        parameters=(
            Parameter(
                "last-event-id",
                "Go on after the event of this `id`, as browsers do by themselves.",
                {"type": "string"},
                "header",
            ),
            Parameter(
                "types",
                "Only events of these types, with commas in between.",
                {"type": "string"},
                example="RequestFinished,LoadChanged",
            ),
        ),
        errors=(Overloaded,),
    ),
)
