"""Which fields of a JSON inference request are read, and is the whole of it valid JSON."""

from __future__ import annotations

from array import array
from itertools import accumulate
from typing import Any

import msgspec
from msgspec import UNSET
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import from_json

from llmlb.errors import InvalidJson, InvalidRequest, LbError, MissingField

QUICKLY_UP_TO_BYTES = 256 * 1024
"""Of a body without its images; what is larger is left to the strict parser alone."""

_SURE_DEPTH = 150
"""Less deep than pydantic's parser reads, whatever counts there as a level."""

_DIGITS = 4300
"""As long an integer as Python reads, and with it pydantic's parser."""

_STEPS = bytes.maketrans(b"{[}]", b"\x01\x01\xff\xff")
_NO_BRACKETS = bytes(sorted({*range(256)} - {*b"{[}]"}))


class Routed(msgspec.Struct):
    """The fields that are read; all others are neither looked at nor touched."""

    model: str
    stream: bool | None = None
    stream_options: Any = UNSET
    """UNSET: it is not there; it may be there as null."""
    n: Any = None
    prompt: Any = None
    previous_response_id: Any = None
    conversation: Any = None
    store: Any = None
    stream_format: Any = None


_FIELDS: dict[str, Any] = dict.fromkeys(Routed.__struct_fields__, (Any, None)) | {
    "model": (str, Field(min_length=1)),
    "stream": (bool | None, None),
}

_STRICT: type[BaseModel] = create_model(
    "Strict", __config__=ConfigDict(strict=True, extra="ignore"), **_FIELDS
)
"""The same for pydantic, which is the judge of all that is refused, and says why."""

_decode = msgspec.json.Decoder(Routed).decode


def read_routed(text: bytes) -> Routed:
    """The fields of *text*. Raises InvalidJson, MissingField, InvalidRequest."""
    return _read_quickly(text) or _read_strictly(text)


def _read_quickly(text: bytes) -> Routed | None:
    """The fields, without a look at what all others hold; None: `_read_strictly` has to say.

    msgspec passes over a field without making anything of it, and without a look at three things
    that are refused: bytes that are no UTF-8, numbers without an end, and depth.
    """
    if len(text) > QUICKLY_UP_TO_BYTES:
        return None
    try:
        routed = _decode(text)
        if not text.isascii():
            text.decode()
    except (ValueError, RecursionError):  # msgspec's own errors are ValueErrors, too
        return None
    if not routed.model or _may_hold_long_number(text) or _may_be_deep(text):
        return None
    return routed


def _may_hold_long_number(text: bytes) -> bool:
    """To look at every 4,300th byte is enough to meet each run of so many digits."""
    return len(text) > _DIGITS and any(
        text[at - 32 : at].isdigit() or text[at : at + 32].isdigit()
        for at in range(_DIGITS, len(text), _DIGITS)
    )


def _may_be_deep(text: bytes) -> bool:
    """Whether the brackets of *text*, which is valid JSON, may be nested too deep."""
    if text.count(b"{") + text.count(b"[") <= _SURE_DEPTH:
        return False
    # Without escapes before quotes, what is outside of strings is every second piece.
    pieces = text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
    steps = array("b", b"".join(pieces[::2]).translate(_STEPS, _NO_BRACKETS))
    return max(accumulate(steps), default=0) > _SURE_DEPTH


def _read_strictly(text: bytes) -> Routed:
    try:
        read = _STRICT.model_validate_json(text)
    except ValidationError as error:
        raise _refusal(error) from None
    if b"NaN" in text or b"Infinity" in text:
        _refuse_not_a_number(text)
    return Routed(**{name: getattr(read, name) for name in read.model_fields_set})


def _refuse_not_a_number(text: bytes) -> None:
    """Raise InvalidJson for what Python takes for a number and JSON does not."""
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidJson(f"The request body is not valid JSON: {error}.") from None


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
