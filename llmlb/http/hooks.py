"""What happens around every route: an id, who is served, and errors in one shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from quart import Quart, Response, g, has_websocket_context, request, websocket
from quart.typing import ResponseTypes
from quart.wrappers import Request, Websocket
from structlog.contextvars import bind_contextvars
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as NoSuchMethod
from werkzeug.routing import WebsocketMismatch

from llmlb.actors.mailbox import ActorGone
from llmlb.errors import (
    InternalError,
    InvalidRequest,
    LbError,
    MethodNotAllowed,
    NotFound,
    ShuttingDown,
    UnsupportedMediaType,
)
from llmlb.http.access.gate import Gate, Knock
from llmlb.http.access.needs import PUBLIC, WEBSOCKET, Need, need_of
from llmlb.http.anthropic.errors import error_body as messages_error_body
from llmlb.http.browser_hooks import PolicyNow, install_browser_hooks, preflight_answer
from llmlb.http.downstream import Headers
from llmlb.http.inbound import REQUEST_ID, headers_of, whence_of, with_token_of_query
from llmlb.http.policy import refuse_large_head, refuse_loops, refuse_two_lengths, request_id_of
from llmlb.http.render import render_error
from llmlb.http.response_policy import ResponsePolicy

log = structlog.get_logger()


def install_hooks(
    app: Quart,
    gate: Callable[[], Gate],
    instance_id: str,
    policy: PolicyNow = ResponsePolicy,
    *,
    needs: Callable[[str, str], Need] = need_of,
    audit: Callable[[int], None] = lambda _: None,
) -> None:
    """Put the hooks round every route of *app*, whose requests upstream carry *instance_id*.

    *gate* raises the LbError that says why there is none; *needs* tells what a method of a rule
    asks of its caller; *audit* is told the status of each answer, while its request is at hand.
    """
    install_browser_hooks(app, policy)

    async def admit() -> Response | None:
        asked = _asked()
        headers = headers_of(asked)
        scope: Mapping[str, Any] = asked.scope
        g.request_id = scope.get(REQUEST_ID) or request_id_of(headers)
        bind_contextvars(request_id=g.request_id)
        refuse_large_head(scope["raw_path"] + b"?" + scope["query_string"], scope["headers"])
        refuse_two_lengths(headers)
        if (told := preflight_answer(asked, headers, policy())) is not None:
            return told
        # No route is found where there is none, or none of this method: nobody is told more.
        method = WEBSOCKET if has_websocket_context() else asked.method
        need = PUBLIC if asked.url_rule is None else needs(method, asked.url_rule.rule)
        if need.always:
            return None  # also while there is no house, and so no gate
        if not need.in_core:
            shown = with_token_of_query(asked.args, headers) if method == WEBSOCKET else headers
            knock = Knock(asked.method, asked.path, shown, whence_of(asked), g.request_id)
            g.caller = gate().admit(need, knock)
        refuse_loops(headers, instance_id)
        return None

    async def tell_audit(response: Response) -> Response:
        audit(response.status_code)
        return response

    app.before_request(admit)
    app.after_request(tell_audit)
    app.before_websocket(admit)
    app.after_request(_label)
    app.after_websocket(_label_refusal)
    app.register_error_handler(Exception, _render)
    app.register_error_handler(HTTPException, _render)


async def _label(response: Response) -> Response:
    response.headers["x-request-id"] = g.request_id
    return response


async def _label_refusal(response: ResponseTypes | None) -> ResponseTypes | None:
    """A WebSocket that was opened has no response."""
    if response is not None:
        response.headers["x-request-id"] = g.request_id
    return response


def _asked() -> Request | Websocket:
    """The request at hand, which may be one to open a WebSocket."""
    return websocket if has_websocket_context() else request


async def _render(error: Exception) -> Response:
    """Any exception of any route, as the OpenAI error that it is."""
    shown = _as_lb_error(error)
    anthropic = _asked().path.startswith("/v1/messages")
    head, body = render_error(
        shown,
        _allow(error),
        messages_error_body(shown, g.request_id) if anthropic else None,
    )
    return Response(body, head.status, dict(head.headers))


def _allow(error: Exception) -> Headers:
    """The header that has to come with a 405."""
    if isinstance(error, NoSuchMethod) and error.valid_methods:
        return (("allow", ", ".join(sorted(error.valid_methods))),)
    return ()


def _as_lb_error(error: Exception) -> LbError:
    if isinstance(error, LbError):
        return error
    if isinstance(error, ActorGone):
        return ShuttingDown("The balancer is shutting down; try again in a moment.")
    if isinstance(error, HTTPException) and (error.code or 500) < 500:
        return _in_our_words(error)
    log.error("a request failed", exc_info=error)
    return InternalError(f"Something went wrong inside the balancer (request id {g.request_id}).")


def _in_our_words(error: HTTPException) -> LbError:
    """A refusal of the framework's."""
    asked = _asked()
    match error.code:
        case 400 if has_websocket_context():
            return InvalidRequest(f"{asked.path} is no WebSocket.")
        case 400 if isinstance(error, WebsocketMismatch):
            return InvalidRequest(f"{asked.path} is a WebSocket: open it as one.")
        case 404:
            return NotFound(f"There is no route {asked.method} {asked.path}.")
        case 405:
            return MethodNotAllowed(f"{asked.path} does not take {asked.method}.")
        case 415:
            return UnsupportedMediaType("The content type of the request is not supported.")
        case _:
            return InvalidRequest(error.description or "The request is not valid.")
