"""What is said of the questions about a response that an endpoint keeps."""

from __future__ import annotations

from llmlb.errors import (
    EndpointRefusal,
    NotFound,
    ResponseStateUnavailable,
    ShuttingDown,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from llmlb.http.openapi.exchanges import OWN_TIME
from llmlb.http.openapi.headers import OF_EXCHANGES
from llmlb.http.openapi.route import (
    Answer,
    Content,
    JsonSchema,
    Parameter,
    Route,
    event_stream,
    json_content,
)

_ANY_OBJECT: JsonSchema = {"type": "object", "additionalProperties": True}

_ID = Parameter(
    "response_id",
    "The response's `id`.",
    {"type": "string", "minLength": 1},
    "path",
    "resp_67ccd2bed1ec8190b14f964abc054267",
)

_STREAM = Parameter(
    "stream",
    "Show it as events, from its beginning.",
    {"type": "string", "enum": ["true", "false"]},
)


def _about(
    method: str,
    rest: str,
    name: str,
    summary: str,
    *more: Content,
    parameters: tuple[Parameter, ...] = (),
) -> Route:
    return Route(
        methods=(method,),
        path=f"/v1/responses/{{response_id}}{rest}",
        name=name,
        tag="Inference",
        summary=summary,
        says="The endpoint that keeps the response is asked, and no other.",
        parameters=(_ID, *parameters, OWN_TIME),
        answers=(Answer(200, "What the endpoint answers.", (json_content(_ANY_OBJECT), *more)),),
        errors=(
            NotFound,
            ResponseStateUnavailable,
            ShuttingDown,
            UpstreamError,
            UpstreamRateLimited,
            UpstreamTimeout,
            EndpointRefusal,
        ),
        headers=OF_EXCHANGES,
    )


KEPT: tuple[Route, ...] = (
    _about(
        "GET",
        "",
        "show_response",
        "A response that an endpoint keeps",
        event_stream("Its events, as when it was made."),
        parameters=(_STREAM,),
    ),
    _about("DELETE", "", "delete_response", "Have an endpoint forget a response"),
    _about("POST", "/cancel", "cancel_response", "Stop a response in the background"),
    _about("GET", "/input_items", "list_input_items", "What a response was made of"),
)
