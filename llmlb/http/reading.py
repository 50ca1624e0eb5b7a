"""What a request body asks for, by the route that it came on."""

from __future__ import annotations

from dataclasses import replace

from llmlb.http.anthropic.dialect import MessagesDialect, read_messages
from llmlb.http.dialect import Dialect
from llmlb.http.openai.dialects import DIALECTS
from llmlb.http.openai.request import InferenceRequest, parse_request
from llmlb.types import Api


def dialect_of(api: Api) -> Dialect:
    """How errors of the route are told, before its request has been understood."""
    return MessagesDialect() if api is Api.MESSAGES else DIALECTS[api]


def read_request(api: Api, path: str, body: bytes) -> InferenceRequest:
    """Read *body*. Raises InvalidJson, MissingField, InvalidRequest, NotImplementedYet."""
    return read_messages(body) if api is Api.MESSAGES else parse_request(api, path, body)


def with_body(request: InferenceRequest, body: bytes) -> InferenceRequest:
    """*request* with its upstream body replaced by *body*, which asks for the same."""
    if request.api is Api.MESSAGES:
        return replace(request, body=body, metered_body=body)
    return parse_request(request.api, request.path, body)
