"""What the core gets of the request that a Quart view was called for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

import trio
from quart import g, request
from quart.wrappers import Request, Websocket

from llmlb.errors import RequestTimedOut
from llmlb.http.access.caller import Caller
from llmlb.http.downstream import Asked, Whence
from llmlb.http.intake.form import Form
from llmlb.http.intake.whole import WaitingBody

if TYPE_CHECKING:
    from hypercorn.typing import HTTPScope, WebsocketScope
    from werkzeug.local import LocalProxy

REQUEST_ID = "llmlb.request_id"
"""Of a scope: the request's id, where whoever takes in connections has given it one."""


SEND_NOW = "llmlb.send_now"
"""Of a scope's state, on a connection of ours: how more of an answer is sent without waiting."""

SendNow = Callable[[bytes], bool]
"""False, and nothing has been sent, for what has to wait its turn."""


def never(_: bytes) -> bool:
    """What stands for `SendNow` where everything has to wait."""
    return False


def send_now_of(scope: HTTPScope | WebsocketScope) -> SendNow:
    """How more of the answer to what came with *scope* is sent without waiting.

    Of a body it gets the data, of a WebSocket whole frames.
    """
    send_now: SendNow = scope.get("state", {}).get(SEND_NOW, never)
    return send_now


def asked_for(path: str) -> Asked:
    """The request at hand, as one of *path*; its body is still to be read."""
    # not the proxy that stands for whatever request is at hand by then
    current = cast("LocalProxy[Request]", request)._get_current_object()  # noqa: SLF001
    return Asked(
        method=current.method,
        path=path,
        headers=headers_of(current),
        request_id=g.request_id,
        whence=whence_of(current),
        read=lambda: read_body(current),
        asked_path=current.path,
    )


def whence_of(asked: Request | Websocket) -> Whence:
    """Where *asked* comes from, as the sockets say: no header plays a part."""
    scope = asked.scope
    local, peer = scope.get("server"), scope.get("client")
    return Whence(
        local[0] if local else None,
        peer[0] if peer else None,
        scope.get("scheme") in ("https", "wss"),
    )


def caller_at_hand() -> Caller:
    """Whoever the hooks have let in with the request at hand."""
    caller: Caller = g.caller
    return caller


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
        between = "; " if key == "cookie" else ", "
        headers[key] = f"{headers[key]}{between}{value}" if key in headers else value
    return headers


def with_token_of_query(query: Mapping[str, str], headers: Mapping[str, str]) -> Mapping[str, str]:
    """*headers*, with the `token` of the *query* in them if they hold no key and no token.

    A page cannot give a WebSocket a header. The token wins over a cookie, which comes unasked.
    """
    token = query.get("token")
    if token is None or not headers.keys().isdisjoint(("authorization", "x-api-key")):
        return headers
    return {**headers, "authorization": f"Bearer {token}"}
