"""Is a body a request for a message, and what of it decides its way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json

from llmlb.errors import InvalidJson
from llmlb.http.anthropic.reading import Reader
from llmlb.http.holes import Holes, take_out

_ROLES = ("user", "assistant", "system")
_TOO_MANY_TOKENS = 2**31  # engines count in 32 bits


@dataclass(frozen=True, slots=True)
class MessagesRequest:
    """One request of the Messages API, checked as far as every endpoint needs it.

    What the blocks of a message hold is read only when it is translated: an endpoint that
    speaks this dialect may know more of them.
    """

    model: str
    stream: bool
    body: bytes = field(repr=False)
    """As the client sent it."""
    fields: dict[str, Any] = field(repr=False)
    """The same, parsed, with marks in the place of the long base64 of images."""
    holes: Holes = field(repr=False)
    """What the marks stand for."""

    @property
    def wants_thinking(self) -> bool:
        """Whether the client asks to be told what a model thinks before it answers."""
        thinking = self.fields.get("thinking")
        return isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive")


def parse_messages(body: bytes) -> MessagesRequest:
    """Read `POST /v1/messages`. Raises InvalidJson, MissingField, InvalidRequest."""
    request, holes = _parse(body)
    max_tokens = request.required("max_tokens", int)
    if not 1 <= max_tokens < _TOO_MANY_TOKENS:
        raise request.fault("max_tokens", f"must be between 1 and {_TOO_MANY_TOKENS - 1}")
    stream = bool(request.optional("stream", bool))
    return _checked(body, request, holes, stream=stream)


def parse_count_tokens(body: bytes) -> MessagesRequest:
    """Read `POST /v1/messages/count_tokens`. Raises InvalidJson, MissingField, InvalidRequest."""
    request, holes = _parse(body)
    return _checked(body, request, holes, stream=False)


def _parse(body: bytes) -> tuple[Reader, Holes]:
    hollow, holes = take_out(body)
    try:
        return Reader(_object(hollow)), holes
    except InvalidJson:
        return Reader(_object(body)), Holes()  # raises, too, and knows the fault's true place


def _object(text: bytes) -> dict[str, Any]:
    try:
        fields = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidJson(f"The request body is not valid JSON: {error}.") from None
    if not isinstance(fields, dict):
        raise InvalidJson("The request body must be a JSON object.")
    return fields


def _checked(body: bytes, request: Reader, holes: Holes, *, stream: bool) -> MessagesRequest:
    model = request.required("model", str)
    if not model:
        raise request.fault("model", "must not be empty")
    if not request.required("messages", list):
        raise request.fault("messages", "must not be empty")
    for message in request.objects("messages"):
        if message.required("role", str) not in _ROLES:
            raise message.fault("role", "must be 'user', 'assistant' or 'system'")
        message.text_or_blocks("content")
    if request.fields.get("system") is not None:
        request.text_or_blocks("system")
    _check_options(request)
    return MessagesRequest(
        model=model, stream=stream, body=body, fields=request.fields, holes=holes
    )


def _check_options(request: Reader) -> None:
    for name in ("temperature", "top_p"):
        request.optional(name, float)
    request.optional("top_k", int)
    for position, sequence in enumerate(request.optional("stop_sequences", list) or ()):
        if not isinstance(sequence, str):
            raise request.fault(f"stop_sequences.{position}", "must be a string")
    if metadata := request.inner("metadata"):
        metadata.optional("user_id", str)
    request.objects("tools")
    for name in ("tool_choice", "thinking"):
        if inner := request.inner(name):
            inner.required("type", str)
