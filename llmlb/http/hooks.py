"""What happens around every route: an id, who is served, and errors in one shape."""

from __future__ import annotations

import structlog
from quart import Quart, Response, g, request
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as NoSuchMethod

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
from llmlb.http.anthropic.errors import error_body as messages_error_body
from llmlb.http.downstream import Headers
from llmlb.http.inbound import headers_of
from llmlb.http.policy import (
    refuse_large_headers,
    refuse_loops,
    refuse_strangers,
    refuse_two_lengths,
    request_id_of,
)
from llmlb.http.render import render_error

log = structlog.get_logger()

OPEN_TO_ALL = frozenset({"/health", "/ready"})
"""Served to any peer: they say nothing but yes or no."""


def install_hooks(app: Quart, instance_id: str) -> None:
    """Put the hooks round every route of *app*, whose requests upstream carry *instance_id*."""

    async def admit() -> None:
        headers = headers_of(request)
        g.request_id = request_id_of(headers)
        refuse_large_headers(headers)
        refuse_two_lengths(headers)
        if request.path in OPEN_TO_ALL:
            return
        local, peer = request.scope.get("server"), request.scope.get("client")
        refuse_strangers(local[0] if local else None, peer[0] if peer else None, headers)
        refuse_loops(headers, instance_id)

    app.before_request(admit)
    app.after_request(_label)
    app.register_error_handler(Exception, _render)
    app.register_error_handler(HTTPException, _render)


async def _label(response: Response) -> Response:
    response.headers["x-request-id"] = g.request_id
    return response


async def _render(error: Exception) -> Response:
    """Any exception of any route, as the OpenAI error that it is."""
    shown = _as_lb_error(error)
    anthropic = request.path.startswith("/v1/messages")
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
    log.error("a request failed", request_id=g.request_id, exc_info=error)
    return InternalError(f"Something went wrong inside the balancer (request id {g.request_id}).")


def _in_our_words(error: HTTPException) -> LbError:
    """A refusal of the framework's."""
    match error.code:
        case 404:
            return NotFound(f"There is no route {request.method} {request.path}.")
        case 405:
            return MethodNotAllowed(f"{request.path} does not take {request.method}.")
        case 415:
            return UnsupportedMediaType("The content type of the request is not supported.")
        case _:
            return InvalidRequest(error.description or "The request is not valid.")
