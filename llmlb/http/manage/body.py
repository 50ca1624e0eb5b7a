"""How the body of a management request becomes a form, or an error that names the field."""

from __future__ import annotations

from typing import TypeVar, cast

from pydantic import ValidationError
from quart.wrappers import Request

from llmlb.errors import InvalidJson, InvalidRequest, LbError, MissingField
from llmlb.forms import Fault, Form, problems
from llmlb.http.inbound import read_body

F = TypeVar("F", bound=Form)

_TOLD = 5
"""So many problems are told at once; whoever has more will be back anyway."""

_ERRORS: dict[Fault, type[LbError]] = {
    Fault.UNREADABLE: InvalidJson,
    Fault.MISSING: MissingField,
    Fault.INVALID: InvalidRequest,
}


async def read_form(form: type[F], request: Request, *, empty: bool = False) -> F:
    """The body of *request*, whatever content type it claims, as a *form*.

    With *empty*, no body is as good as an object without fields. Raises like `read_body` and
    `parse_body`.
    """
    # no management route takes a form, so the body is no form
    raw = cast("bytes", await read_body(request))
    return parse_body(form, b"{}" if empty and not raw else raw)


def parse_body(form: type[F], raw: bytes) -> F:
    """The JSON object *raw* as a *form*.

    Raises InvalidJson, MissingField or InvalidRequest; `param` names the first field at fault,
    the message tells of the others, too.
    """
    try:
        return form.model_validate_json(raw)
    except ValidationError as error:
        found = problems(error)
    first, told = found[0], " ".join(p.sentence for p in found[:_TOLD])
    raise _ERRORS[first.fault](told, param=first.field)
