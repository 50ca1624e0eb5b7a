"""What a request body asks for, by the route that it came on."""

from __future__ import annotations

from llmlb.errors import UnsupportedMediaType
from llmlb.http.anthropic.asking import read_count, read_messages
from llmlb.http.anthropic.dialect import MessagesDialect
from llmlb.http.dialect import Dialect
from llmlb.http.inference import InferenceRequest
from llmlb.http.intake.form import Form
from llmlb.http.openai.dialects import DIALECTS
from llmlb.http.openai.form_request import FILE_OF, parse_form
from llmlb.http.openai.request import parse_request
from llmlb.types import Api

_ANTHROPIC = frozenset({Api.MESSAGES, Api.COUNT_TOKENS})


def dialect_of(api: Api) -> Dialect:
    """How errors of the route are told, before its request has been understood."""
    return MessagesDialect() if api in _ANTHROPIC else DIALECTS[api]


def read_request(api: Api, path: str, body: bytes | Form) -> InferenceRequest:
    """Read *body*.

    Raises InvalidJson, MissingField, InvalidRequest, UnsupportedMediaType.
    """
    if api in FILE_OF:
        return parse_form(api, path, body)
    if isinstance(body, Form):
        raise UnsupportedMediaType(f"{path} takes JSON, not a form.")
    match api:
        case Api.MESSAGES:
            return read_messages(body)
        case Api.COUNT_TOKENS:
            return read_count(body)
        case _:
            return parse_request(api, path, body)
