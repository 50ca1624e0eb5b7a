"""How the response policy meets Quart: each answer gets its headers, a preflight its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from quart import Quart, Response, request, websocket
from quart.typing import ResponseTypes
from quart.wrappers import Request, Websocket

from llmlb.http.response_policy import ResponsePolicy

if TYPE_CHECKING:
    from werkzeug.wrappers import Response as WerkzeugResponse

PolicyNow = Callable[[], ResponsePolicy]


def install_browser_hooks(app: Quart, policy: PolicyNow) -> None:
    """Let *policy* see every answer of *app*.

    To be called before other hooks are put round it: Quart runs first what came last, and the
    policy has to see what they add.
    """

    async def dress(response: ResponseTypes) -> ResponseTypes:
        _dress(response, request, policy())
        return response

    async def dress_refusal(response: ResponseTypes | None) -> ResponseTypes | None:
        """A WebSocket that was opened has no response."""
        if response is not None:
            _dress(response, websocket, policy())
        return response

    app.after_request(dress)
    app.after_websocket(dress_refusal)


def preflight_answer(
    asked: Request | Websocket, headers: Mapping[str, str], policy: ResponsePolicy
) -> Response | None:
    """The answer to *asked* if it is a preflight, else None. Raises OriginNotAllowed."""
    head = policy.preflight(asked.method, asked.path, headers)
    if head is None:
        return None
    response = Response(b"", head.status, dict(head.headers))
    del response.headers["content-type"], response.headers["content-length"]
    return response


def _dress(
    response: Response | WerkzeugResponse, asked: Request | Websocket, policy: ResponsePolicy
) -> None:
    said = {name.lower(): value for name, value in response.headers.items()}
    ours = policy.headers_for(
        asked.path, asked.headers.get("origin"), said, page=response.mimetype == "text/html"
    )
    response.headers.extend(ours)
