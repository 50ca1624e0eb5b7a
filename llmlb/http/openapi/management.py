"""What is said of the routes that operators call, and of those that tell how the process is."""

from __future__ import annotations

from typing import Any

from llmlb.endpoint_form import EndpointEdit, EndpointForm
from llmlb.errors import (
    Conflict,
    InvalidJson,
    LbError,
    MissingField,
    NotFound,
    ShuttingDown,
    StoreUnavailable,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from llmlb.http.manage.query import LAST_PAGE, MOST_PER_PAGE, PER_PAGE
from llmlb.http.openapi.headers import OF_ALL
from llmlb.http.openapi.route import Answer, Content, JsonSchema, Parameter, Route, json_content
from llmlb.http.openapi.shown import (
    EndpointListShown,
    EndpointModelsShown,
    EndpointShown,
    EndpointWithModelsShown,
    HealthShown,
    ProbeFailedShown,
    ProbeSucceededShown,
    ReadyShown,
    SyncShown,
)
from llmlb.types import Status

_ID = "3f2a8c54-7d0b-4c7e-9a51-0c6d2e9b1f00"

ENDPOINT_ID = Parameter(
    "endpoint_id", "The endpoint's `id`.", {"type": "string", "minLength": 1}, "path", _ID
)

OF_CHANGES: tuple[type[LbError], ...] = (StoreUnavailable, Conflict)


def operator(
    method: str,
    path: str,
    name: str,
    summary: str,
    *answers: Answer,
    errors: tuple[type[LbError], ...] = (),
    **more: Any,  # noqa: ANN401 - the other fields of Route
) -> Route:
    """A route under `/api`; a path with `{endpoint_id}` is about one endpoint."""
    one = "{endpoint_id}" in path
    return Route(
        methods=tuple(method.split()),
        path=f"/api{path}",
        name=name,
        tag="Management",
        summary=summary,
        parameters=(*((ENDPOINT_ID,) if one else ()), *more.pop("parameters", ())),
        answers=answers,
        errors=(*errors, ShuttingDown, *((NotFound,) if one else ())),
        headers=OF_ALL,
        **more,
    )


def _says(shape: Any, says: str, status: int = 200) -> Answer:  # noqa: ANN401 - see Shape
    return Answer(status, says, (json_content(shape),))


def number(name: str, says: str, most: int, default: int) -> Parameter:
    """A number of the query, from 1 to *most*."""
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return Parameter(name, says, schema)


PAGED = (
    number("page", "From 1 on.", LAST_PAGE, 1),
    number("per_page", "Of them on a page.", MOST_PER_PAGE, PER_PAGE),
)
"""The parameters of a list."""

MANAGEMENT: tuple[Route, ...] = (
    operator(
        "GET",
        "/endpoints",
        "list_endpoints",
        "All endpoints, the newest first",
        _says(EndpointListShown, "One page of them."),
        parameters=(
            Parameter(
                "status",
                "Only those of this status.",
                {"type": "string", "enum": [status.value for status in Status]},
            ),
            *PAGED,
        ),
    ),
    operator(
        "POST",
        "/endpoints",
        "create_endpoint",
        "Register an endpoint",
        _says(EndpointShown, "It is registered.", 201),
        says="It may be off at the moment: then it is `offline` until it answers. Its engine, "
        "models and device are found out; nobody chooses them.",
        parameters=(
            Parameter(
                "verify",
                "Refuse an endpoint that does not answer.",
                {"type": "string", "enum": ["true", "false", "1", "0"], "default": "false"},
            ),
        ),
        body=json_content(EndpointForm, {"name": "desk", "base_url": "http://127.0.0.1:11434"}),
        errors=(InvalidJson, MissingField, UpstreamUnreachable, *OF_CHANGES),
    ),
    operator(
        "GET",
        "/endpoints/{endpoint_id}",
        "show_endpoint",
        "One endpoint with its models",
        _says(EndpointWithModelsShown, "The endpoint."),
    ),
    operator(
        "PUT PATCH",
        "/endpoints/{endpoint_id}",
        "edit_endpoint",
        "Edit an endpoint",
        _says(EndpointShown, "The endpoint as it is now."),
        says="Only what is named changes; null brings back the default.",
        body=json_content(EndpointEdit, {"max_concurrency": 16}),
        errors=(InvalidJson, *OF_CHANGES),
    ),
    operator(
        "DELETE",
        "/endpoints/{endpoint_id}",
        "delete_endpoint",
        "Remove an endpoint",
        Answer(204, "It is removed. What runs there finishes; nothing new is admitted."),
        errors=OF_CHANGES,
    ),
    operator(
        "GET",
        "/endpoints/{endpoint_id}/models",
        "list_models",
        "The models that an endpoint lists",
        _says(EndpointModelsShown, "In its own order."),
    ),
    operator(
        "POST",
        "/endpoints/{endpoint_id}/test",
        "test_endpoint",
        "Probe an endpoint now",
        _says(
            {"anyOf": [ProbeSucceededShown, ProbeFailedShown]},
            "Whether it serves; that it does not is an answer, too.",
        ),
        errors=(StoreUnavailable,),
    ),
    operator(
        "POST",
        "/endpoints/{endpoint_id}/sync",
        "sync_endpoint",
        "Read an endpoint's models now",
        _says(SyncShown, "What was found, and what is new of it."),
        errors=(
            Conflict,
            UpstreamError,
            UpstreamUnreachable,
            StoreUnavailable,
            UpstreamTimeout,
        ),
    ),
    *(
        operator(
            "POST",
            f"/endpoints/{{endpoint_id}}/{mode}",
            f"{mode}_endpoint",
            summary,
            _says(EndpointShown, "The endpoint as it is now."),
            errors=(StoreUnavailable,),
        )
        for mode, summary in (
            ("enable", "Let requests in"),
            ("drain", "Finish what runs, and admit nothing new"),
            ("disable", "Let nothing in, and do not even probe"),
        )
    ),
)

_DOCUMENT: JsonSchema = {"type": "object", "required": ["openapi", "info", "paths"]}


def _process(path: str, name: str, summary: str, answer: Content, *errors: type[LbError]) -> Route:
    return Route(
        methods=("GET",),
        path=path,
        name=name,
        tag="Process",
        summary=summary,
        answers=(Answer(200, "Yes.", (answer,)),),
        errors=errors,
        headers=OF_ALL,
    )


PROCESS: tuple[Route, ...] = (
    _process("/health", "health", "Does the process serve", json_content(HealthShown)),
    _process(
        "/ready",
        "ready",
        "Are requests welcome, and does the database take writes",
        json_content(ReadyShown),
        ShuttingDown,
        StoreUnavailable,
    ),
    _process("/openapi.json", "openapi", "This description", json_content(_DOCUMENT)),
    Route(
        methods=("GET",),
        path="/metrics",
        name="metrics",
        tag="Process",
        summary="What is measured, for Prometheus",
        says="`Accept` chooses the format.",
        answers=(
            Answer(
                200,
                "All of it.",
                tuple(
                    Content(media_type, {"type": "string"})
                    for media_type in ("text/plain", "application/openmetrics-text")
                ),
            ),
        ),
        errors=(ShuttingDown,),
        headers=OF_ALL,
    ),
)
