"""What the inference routes have in common: bodies, answers and errors of an exchange."""

from __future__ import annotations

from typing import Any

from llmlb.errors import (
    EndpointRefusal,
    InvalidJson,
    LbError,
    MissingField,
    ModelNotFound,
    NoCapableEndpoints,
    QueueFull,
    QueueTimeout,
    ShuttingDown,
    UnsupportedCapability,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from llmlb.http.openapi.headers import OF_EXCHANGES
from llmlb.http.openapi.route import (
    Answer,
    Content,
    JsonSchema,
    Parameter,
    Route,
    event_stream,
    json_content,
    open_object,
)
from llmlb.http.paths import PATHS
from llmlb.http.policy import OWN_TIME_HEADER
from llmlb.http.vision.checking import (
    ImageTooLarge,
    InvalidBase64Image,
    InvalidImageUrl,
    TooManyImages,
    UnsupportedImageFormat,
)
from llmlb.http.vision.remote import ImageNotFetched
from llmlb.types import Api

OF_EXCHANGE: tuple[type[LbError], ...] = (
    InvalidJson,
    MissingField,
    ModelNotFound,
    QueueFull,
    UpstreamRateLimited,
    UpstreamError,
    UpstreamUnreachable,
    NoCapableEndpoints,
    ShuttingDown,
    QueueTimeout,
    UpstreamTimeout,
    EndpointRefusal,
)
"""What every exchange may come to."""

OF_IMAGES: tuple[type[LbError], ...] = (
    UnsupportedCapability,
    TooManyImages,
    ImageTooLarge,
    UnsupportedImageFormat,
    InvalidBase64Image,
    InvalidImageUrl,
    ImageNotFetched,
)
"""What images in a request may come to."""

MODEL: JsonSchema = {"type": "string", "minLength": 1, "description": "As `/v1/models` lists it."}
STREAM: JsonSchema = {
    "type": ["boolean", "null"],
    "description": "Answer piece by piece, as server-sent events.",
}
UNREAD: JsonSchema = {"description": "For the endpoint."}
UNREAD_FLAG: JsonSchema = {
    "type": ["boolean", "null"],
    "description": "For the endpoint; the answer comes whole.",
}
KEPT_ID: JsonSchema = {
    "description": "The id of what the request goes on from; the endpoint that keeps it answers."
}
OWN_TIME = Parameter(
    OWN_TIME_HEADER,
    "Seconds that the client gives the request, in line and over all attempts. It can only "
    "shorten what the settings allow.",
    {"type": "string", "pattern": "^(?=.*[1-9])[0-9]{1,9}([.][0-9]{1,9})?$"},
    place="header",
)
EVENTS = event_stream("One `data:` line with JSON per event.")


def asked(required: tuple[str, ...] = (), **fields: JsonSchema) -> JsonSchema:
    """A request's body: `model`, *fields*, and whatever else the endpoint understands."""
    return open_object(("model", *required), model=MODEL, **fields)


def results(name: str) -> Content:
    """An endpoint's answer, passed on as it is: it has a list *name* that is not empty."""
    return json_content(open_object((name,), **{name: {"type": "array", "minItems": 1}}))


def exchange(
    api: Api,
    summary: str,
    body: Content | None,
    *answers: Content,
    errors: tuple[type[LbError], ...] = (),
    **more: Any,  # noqa: ANN401 - other fields of Route
) -> Route:
    """A route that the exchange serves; endpoints decide what else stands in its body.

    *more* says what is otherwise than with most: a `path` of its own, say, and a `name`.
    """
    parameters: tuple[Parameter, ...] = more.pop("parameters", ())
    most: dict[str, Any] = {
        "methods": ("POST",),
        "path": PATHS[api],
        "name": api.value,
        "tag": "Inference",
        "headers": OF_EXCHANGES,
    }
    return Route(
        summary=summary,
        body=body,
        answers=(Answer(200, "What the endpoint answers.", answers),),
        errors=(*OF_EXCHANGE, *errors),
        parameters=(*parameters, OWN_TIME),
        **{**most, **more},
    )
