"""How a client is told that its request has come to nothing, in whatever state its answer is."""

from __future__ import annotations

import trio

from llmlb.errors import EndpointRefusal, LbError, RateLimitExceeded
from llmlb.http.dialect import Dialect
from llmlb.http.downstream import FAREWELL_LIMIT_S
from llmlb.http.keepalive import KeptAlive
from llmlb.http.render import render_error
from llmlb.http.trail import Trail


async def bid_farewell(
    error: LbError, dialect: Dialect, request_id: str, trail: Trail, client: KeptAlive
) -> None:
    """Answer with *error*; an answer that has begun is cut off instead. Raises PeerGone."""
    if trail.committed:
        client.abort()
        return
    told = dialect.error_body(error, request_id)
    # What an endpoint said itself is its answer, and so is all of the only one that may.
    of_one = isinstance(error, EndpointRefusal) or trail.only is not None
    way = trail.headers(trail.asked if of_one else None)
    limits = error.headers if isinstance(error, RateLimitExceeded) else ()
    ours = (("x-request-id", request_id), *way, *limits, *trail.advice(error))
    head, body = render_error(error, ours, told)
    with trio.move_on_after(FAREWELL_LIMIT_S) as bound:
        if client.head_alone:
            await client.end_with(dialect.error_event(error), way)
        else:
            await client.begin(head)
            await client.send(body)
    if bound.cancelled_caught:
        client.abort()  # it does not read, and holds up nothing of ours
