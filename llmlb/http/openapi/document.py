"""The OpenAPI 3.1 document: all that is said of the routes, put together."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import llmlb
from llmlb.forms import Form
from llmlb.http.openapi.accounts import ACCOUNTS
from llmlb.http.openapi.audit import AUDIT
from llmlb.http.openapi.clients import CLIENTS
from llmlb.http.openapi.events import EVENTS
from llmlb.http.openapi.headers import HEADERS
from llmlb.http.openapi.history import HISTORY
from llmlb.http.openapi.inference import CHOSEN, INFERENCE, MODELS
from llmlb.http.openapi.jobs import JOBS
from llmlb.http.openapi.kept import KEPT
from llmlb.http.openapi.logs import LOGS
from llmlb.http.openapi.management import MANAGEMENT, PROCESS
from llmlb.http.openapi.media import MEDIA
from llmlb.http.openapi.refusals import ANTHROPIC_ERROR_SCHEMA, ERROR_SCHEMA, refusals_of
from llmlb.http.openapi.requests import REQUESTS
from llmlb.http.openapi.route import Content, JsonSchema, Parameter, Route
from llmlb.http.openapi.security import SCHEMES, security_of, who_may
from llmlb.http.openapi.statistics import STATISTICS

ROUTES: tuple[Route, ...] = (
    *INFERENCE,
    *MEDIA,
    *KEPT,
    *MODELS,
    *MANAGEMENT,
    *JOBS,
    *ACCOUNTS,
    CHOSEN,
    *EVENTS,
    *REQUESTS,
    *STATISTICS,
    *AUDIT,
    *LOGS,
    *HISTORY,
    *CLIENTS,
    *PROCESS,
)

DESCRIPTION = """\
One OpenAI-compatible address in front of your own inference servers.

`/v1` takes API keys alone. Management takes what each route says: a key with the permission that \
it names, or somebody who has logged in, by the token or by the cookie. With the cookie, a request \
that changes something needs the header `x-csrf-token` with what the cookie `llmlb_csrf` holds. \
Until there is an administrator, and with `LLMLB_AUTH=off`, the machine that llmlb runs on needs \
no credential, and others get 403 `setup_required`, but for `/health`, `/ready` and `/setup`.

Everything under `/api` answers under `/v0`, too, the prefix of older versions.

Every error is an OpenAI error object, but for those of `/v1/messages`, which are in Anthropic's \
shape. Beside what is said of each route: a path that is not described is 404 `not_found`, a \
method that it does not take 405 `method_not_allowed`, with `Allow`.

Bodies are read as JSON, whatever their content type says. On the inference routes fields that \
are not described here pass untouched, in both directions; elsewhere they are an error in a \
request, and may come with a new version in an answer."""


def build_document() -> JsonSchema:
    """The document, made anew."""
    paths: dict[str, JsonSchema] = {}
    for route in ROUTES:
        for method in route.methods:
            paths.setdefault(route.path, {})[method.lower()] = _operation(route, method)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "llmlb",
            "version": llmlb.__version__,
            "description": DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in ROUTES)],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "headers": dict(HEADERS),
            "securitySchemes": SCHEMES,
        },
    }


@cache
def document_json() -> bytes:
    """The document as it is served."""
    return json.dumps(build_document(), ensure_ascii=False).encode()


def _operation(route: Route, method: str) -> JsonSchema:
    first = method == route.methods[0]
    operation: JsonSchema = {
        "operationId": route.name if first else f"{route.name}_by_{method.lower()}",
        "tags": [route.tag],
        "summary": route.summary if first else f"{route.summary}, as with {route.methods[0]}",
    }
    if told := " ".join(filter(None, (route.says, who_may(route.need)))):
        operation["description"] = told
    operation["security"] = security_of(route.need)
    if route.parameters:
        operation["parameters"] = [_parameter(parameter) for parameter in route.parameters]
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": _contents(route.body)}
    responses = {
        str(answer.status): {
            "description": answer.says,
            "headers": dict(route.headers),
            **({"content": _contents(*answer.contents)} if answer.contents else {}),
        }
        for answer in route.answers
    }
    refusals = refusals_of(route)
    for status in responses.keys() & refusals.keys():  # a page that says no is a page, too
        refusals[status]["content"] |= responses[status]["content"]
    return {**operation, "responses": {**responses, **refusals}}


def _parameter(parameter: Parameter) -> JsonSchema:
    said = {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.says,
        "required": parameter.place == "path",
        "schema": parameter.schema,
    }
    return said if parameter.example is None else {**said, "example": parameter.example}


def _contents(*contents: Content) -> JsonSchema:
    said: JsonSchema = {}
    for content in contents:
        said[content.media_type] = {"schema": _placed(content.shape)}
        if content.example is not None:
            said[content.media_type]["example"] = content.example
    return said


def _placed(shape: Any) -> Any:  # noqa: ANN401 - JSON, with models in it
    """*shape* with references in place of the models in it."""
    match shape:
        case type():
            return {"$ref": f"#/components/schemas/{_name(shape)}"}
        case dict():
            return {key: _placed(value) for key, value in shape.items()}
        case list():
            return [_placed(value) for value in shape]
        case _:
            return shape


def _models(shape: Any) -> list[type[BaseModel]]:  # noqa: ANN401 - JSON, with models in it
    match shape:
        case type():
            return [shape]
        case dict():
            return [model for value in shape.values() for model in _models(value)]
        case list():
            return [model for value in shape for model in _models(value)]
        case _:
            return []


def _name(model: type[BaseModel]) -> str:
    return model.__name__


def _schemas() -> JsonSchema:
    """Every schema that is referred to by its name."""
    shapes = [
        content.shape
        for route in ROUTES
        for content in (
            *([] if route.body is None else [route.body]),
            *(content for answer in route.answers for content in answer.contents),
        )
    ]
    models = list(dict.fromkeys(model for shape in shapes for model in _models(shape)))
    _, made = models_json_schema(
        [(model, "validation") for model in models],
        ref_template="#/components/schemas/{model}",
    )
    schemas = {name: _plain(schema) for name, schema in made["$defs"].items()}
    for model in models:
        if issubclass(model, Form):
            schemas[_name(model)]["properties"] |= {
                name: {"deprecated": True, "description": "Ignored; older clients send it."}
                for name in sorted(model.leftovers)
            }
    return {"Error": ERROR_SCHEMA, "AnthropicError": ANTHROPIC_ERROR_SCHEMA, **schemas}


def _plain(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """*schema* without pydantic's titles, and without defaults that stand for "not said"."""
    match schema:
        case dict():
            return {
                key: _plain(value)
                for key, value in schema.items()
                if not (key in ("title", "default") and not isinstance(value, dict))
            }
        case list():
            return [_plain(value) for value in schema]
        case _:
            return schema
