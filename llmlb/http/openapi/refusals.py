"""How the error classes of a route become the error responses of its description."""

from __future__ import annotations

import inspect

from llmlb.errors import (
    AuthenticationError,
    CsrfFailed,
    EndpointRefusal,
    ExpiredApiKey,
    HeadersTooLarge,
    InternalError,
    InvalidRequest,
    InvalidSession,
    LbError,
    LoopDetected,
    MissingCredential,
    Overloaded,
    PasswordChangeRequired,
    PermissionDenied,
    RequestTimedOut,
    RequestTooLarge,
    SetupRequired,
)
from llmlb.http.openapi.headers import RETRY_AFTER
from llmlb.http.openapi.route import JsonSchema, Route

EVERYWHERE = (InvalidRequest, SetupRequired, HeadersTooLarge, InternalError, LoopDetected)
"""What the hooks round every route may say."""

OF_BODIES = (RequestTimedOut, RequestTooLarge, Overloaded)
"""What reading a body may come to."""

_WITH_RETRY_AFTER = (429, 503)

ERROR_SCHEMA: JsonSchema = {
    "type": "object",
    "description": "The error object of every route but Anthropic's.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string", "description": "For people."},
                "type": {"type": "string"},
                "param": {
                    "type": ["string", "null"],
                    "description": "The field or parameter that is at fault.",
                },
                "code": {"type": ["string", "null"], "description": "For programs."},
            },
        }
    },
}

ANTHROPIC_ERROR_SCHEMA: JsonSchema = {
    "type": "object",
    "description": "The error object of Anthropic's routes.",
    "required": ["type", "error"],
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {
                "type": {"type": "string"},
                "message": {"type": "string", "description": "For people."},
            },
        },
        "request_id": {"type": "string"},
    },
}


def refusals_of(route: Route) -> dict[str, JsonSchema]:
    """The error responses of *route*, by status."""
    bodies = OF_BODIES if route.body else ()
    classes = dict.fromkeys((*EVERYWHERE, *_of_the_gate(route), *bodies, *route.errors))
    passes_on = EndpointRefusal in classes
    by_status: dict[int, list[type[LbError]]] = {}
    for error in classes:
        if error is not EndpointRefusal:  # it has any 4xx for its status
            by_status.setdefault(error.status, []).append(error)
    refusals = {
        str(status): _response(route, status, errors, any_code=passes_on and status < 500)
        for status, errors in sorted(by_status.items())
    }
    if passes_on:
        refusals["4XX"] = _response(route, 499, [EndpointRefusal], any_code=True)
    return refusals


def _of_the_gate(route: Route) -> tuple[type[LbError], ...]:
    """What whoever calls *route* may be told about credentials."""
    need = route.need
    if need.public:
        return ()
    errors: list[type[LbError]] = [MissingCredential, AuthenticationError, PermissionDenied]
    if need.key is not None:
        errors.append(ExpiredApiKey)
    if need.role is not None:
        errors += [InvalidSession, CsrfFailed]
        if not need.password_due:
            errors.append(PasswordChangeRequired)
    return tuple(errors)


def told_of(error: type[LbError]) -> str:
    """When the error comes, in one sentence."""
    return " ".join((inspect.getdoc(error) or "").split("\n\n")[0].split())


def code_of(error: type[LbError]) -> str:
    """`error.code` of the errors of this class; not for EndpointRefusal."""
    return error("").error_code()


def _response(
    route: Route, status: int, errors: list[type[LbError]], *, any_code: bool
) -> JsonSchema:
    headers = dict(route.headers)
    if status in _WITH_RETRY_AFTER:
        headers |= RETRY_AFTER
    schema: JsonSchema = {"$ref": f"#/components/schemas/{error_schema_name(route)}"}
    if not (any_code or route.anthropic):
        code = {"enum": [code_of(error) for error in errors]}
        properties = {"error": {"properties": {"code": code}}}
        schema = {"allOf": [schema, {"properties": properties}]}
    told = [
        told_of(error) if error is EndpointRefusal else f"`{code_of(error)}`: {told_of(error)}"
        for error in errors
    ]
    return {
        "description": "\n".join(told),
        "headers": headers,
        "content": {"application/json": {"schema": schema}},
    }


def error_schema_name(route: Route) -> str:
    """Under which name its errors' schema stands in the document."""
    return "AnthropicError" if route.anthropic else "Error"
