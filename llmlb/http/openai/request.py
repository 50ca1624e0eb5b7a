"""What of an inference request decides its way; the rest of the body is the endpoint's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from llmlb.errors import InvalidJson, InvalidRequest, LbError, MissingField, NotImplementedYet
from llmlb.http.dialect import Dialect
from llmlb.http.openai.dialects import DIALECTS
from llmlb.types import Api

_NEVER_STREAMED = frozenset({Api.EMBEDDINGS, Api.RERANK, Api.IMAGE_GENERATIONS, Api.SPEECH})

_STREAMED_ELSEWHERE = frozenset({Api.IMAGE_GENERATIONS, Api.SPEECH})
"""Their streams have events of their own, which are not relayed yet."""

_COUNTED_ON_REQUEST = frozenset({Api.CHAT_COMPLETIONS, Api.COMPLETIONS})
"""Their streams tell the usage only to those who ask for it."""

_INCLUDE_USAGE = b'"stream_options":{"include_usage":true},'


class _Routed(BaseModel):
    """The fields that are read; all others are neither looked at nor touched."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: str = Field(min_length=1)
    stream: bool | None = None
    stream_options: Any = None
    n: Any = None
    prompt: Any = None
    previous_response_id: Any = None
    conversation: Any = None
    background: Any = None
    stream_format: Any = None


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """One inference request, ready to be sent to any endpoint that has the model."""

    api: Api
    path: str
    model: str
    stream: bool
    choices: int
    """How many choices the answer will have."""
    body: bytes
    """As the client sent it."""
    metered_body: bytes
    """The same, asking for usage at the end of the stream as well."""
    dialect: Dialect
    """How the route answers."""
    notes: tuple[str, ...] = ()
    """What had to be left out, each in a few ASCII words."""

    @property
    def asks_for_usage(self) -> bool:
        """Whether the client itself wants the usage chunk of its stream."""
        return self.stream and self.body is self.metered_body


def parse_request(api: Api, path: str, body: bytes) -> InferenceRequest:
    """Read what routing needs of *body*. Raises InvalidJson, MissingField, InvalidRequest."""
    try:
        routed = _Routed.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from None
    if b"NaN" in body or b"Infinity" in body:
        _refuse_not_a_number(body)
    if api is Api.RESPONSES:
        _refuse_state(routed)
    if api in _STREAMED_ELSEWHERE and (routed.stream or routed.stream_format == "sse"):
        raise NotImplementedYet(f"{path} is not streamed as events yet.", param="stream")
    stream = bool(routed.stream) and api not in _NEVER_STREAMED
    return InferenceRequest(
        api=api,
        path=path,
        model=routed.model,
        stream=stream,
        choices=_choices(api, routed),
        body=body,
        metered_body=_with_usage(body, routed) if stream and api in _COUNTED_ON_REQUEST else body,
        dialect=DIALECTS[api],
    )


def _refuse_not_a_number(body: bytes) -> None:
    """Raise InvalidJson for what Python takes for a number and JSON does not."""
    try:
        from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidJson(f"The request body is not valid JSON: {error}.") from None


def _refuse_state(routed: _Routed) -> None:
    """Raise NotImplementedYet for what only the endpoint of an earlier response could answer."""
    for field in ("previous_response_id", "conversation", "background"):
        if getattr(routed, field):
            raise NotImplementedYet(
                f"'{field}' is not supported yet: send the whole conversation as 'input'.",
                param=field,
            )


def _refusal(error: ValidationError) -> LbError:
    problem = error.errors(include_url=False)[0]
    field = str(problem["loc"][0]) if problem["loc"] else None
    match problem["type"], field:
        case "json_invalid", _:
            reason = problem["ctx"]["error"]
            return InvalidJson(f"The request body is not valid JSON: {reason}.")
        case _, None:
            return InvalidJson("The request body must be a JSON object.")
        case "missing", _:
            return MissingField(f"'{field}' is required.", param=field)
        case _:
            kind = {"model": "a non-empty string", "stream": "a boolean"}.get(field or "", "valid")
            return InvalidRequest(f"'{field}' must be {kind}.", param=field)


def _choices(api: Api, routed: _Routed) -> int:
    n = routed.n if isinstance(routed.n, int) and routed.n > 0 else 1
    if api is Api.COMPLETIONS and isinstance(routed.prompt, list):
        several = [p for p in routed.prompt if isinstance(p, str | list)]
        return n * max(1, len(several))
    return n


def _with_usage(body: bytes, routed: _Routed) -> bytes:
    """*body* with `stream_options.include_usage`, merged with the client's own options."""
    options = routed.stream_options
    if "stream_options" not in routed.model_fields_set:
        start = body.index(b"{") + 1
        return body[:start] + _INCLUDE_USAGE + body[start:]
    if options is not None and not isinstance(options, dict):
        return body  # the endpoint will say what it thinks of that
    if options and options.get("include_usage") is True:
        return body
    try:
        whole = json.loads(body)
        whole["stream_options"] = {**(options or {}), "include_usage": True}
        return json.dumps(whole, separators=(",", ":"), allow_nan=False).encode()
    except ValueError:
        return body  # a number that Python cannot write as it was read
