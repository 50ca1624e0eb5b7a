"""What the core gets of the request that a Quart view was called for."""

from __future__ import annotations

import math

import trio
from quart import g, request
from quart.wrappers import Request, Websocket

from llmlb.errors import RequestTimedOut
from llmlb.http.downstream import Inbound
from llmlb.http.intake.form import Form
from llmlb.http.intake.whole import WaitingBody


async def read_inbound(path: str) -> Inbound:
    """The request at hand, read to its end, as one of *path*. Raises like `read_body`."""
    return Inbound(
        method=request.method,
        path=path,
        headers=headers_of(request),
        body=await read_body(request),
        request_id=g.request_id,
    )


async def read_body(asked: Request) -> bytes | Form:
    """The body of *asked*. Raises the LbError that refuses it, RequestTimedOut, Overloaded."""
    limit_s = float(asked.body_timeout or math.inf)
    try:
        with trio.fail_after(limit_s):
            whole = await asked.body
    except trio.TooSlowError:
        raise RequestTimedOut("The body of the request did not come in time.") from None
    asked.body.clear()
    return await whole.read_back(limit_s) if isinstance(whole, WaitingBody) else whole


def headers_of(asked: Request | Websocket) -> dict[str, str]:
    """The headers of *asked* by lower-case name; repeated ones joined with a comma."""
    headers: dict[str, str] = {}
    for name, value in asked.headers.items():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers
