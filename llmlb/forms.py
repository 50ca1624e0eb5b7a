"""What is wrong with which field of what people fill in, be it JSON or TOML."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_SHOWN = 100
"""Characters of a foreign field name that are repeated."""


class Form(BaseModel):
    """Base of all that is filled in by people: strict, and unknown fields are an error.

    A validator of a field raises ValueError: either a whole sentence with its full stop, or,
    without one, what is said of the field ("must be from 10 to 300").
    """

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,  # they describe the fields in the JSON schema
    )

    leftovers: ClassVar[frozenset[str]] = frozenset()
    """Fields of older clients that mean nothing any more, and do no harm."""

    @model_validator(mode="before")
    @classmethod
    def _drop_leftovers(cls, given: Any) -> Any:  # noqa: ANN401 - pydantic judges it next
        if isinstance(given, dict):
            return {name: value for name, value in given.items() if name not in cls.leftovers}
        return given


class Checked:
    """The check of a field, and as much of it as JSON schema can say.

    pydantic's own constraints would tell both, but in their own words.
    """

    def __init__(self, check: Callable[[Any], object], **keywords: object) -> None:
        """*check* returns the value as it is kept, or raises ValueError (see Form)."""
        self._check, self._keywords = check, keywords

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), **self._keywords}


class Fault(StrEnum):
    """In which way a form can be wrong."""

    UNREADABLE = "unreadable"
    """Not JSON, or no object: there is no field to name."""
    MISSING = "missing"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; it repeats no value, for that may be a secret."""

    fault: Fault
    field: str | None
    """The field of the form that it is about."""
    reason: str
    """A whole sentence with its full stop, or, without one, what is said of the field."""
    where: str = ""
    """The field, or what in it is wrong."""

    @property
    def sentence(self) -> str:
        """The reason as a whole sentence."""
        whole = self.reason.endswith((".", "?"))
        return self.reason if whole else f"'{self.where}' {self.reason}."


def problems(error: ValidationError) -> list[Problem]:
    """All that is wrong, in the order of the form's fields; unknown fields come last."""
    return [_problem(e) for e in error.errors(include_url=False, include_input=False)]


_SAID: dict[str, str] = {
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "list_type": "must be a list",
    "missing": "is missing",
    "extra_forbidden": "is not a field that is known here",
}


def _problem(details: ErrorDetails) -> Problem:
    kind, where = details["type"], details["loc"]
    if kind == "json_invalid":
        # pydantic's text is "Invalid JSON: expected value at line 1 column 1"
        reason = details["msg"].partition(": ")[2]
        return Problem(Fault.UNREADABLE, None, f"The body is not JSON: {reason}.")
    if not where:
        return Problem(Fault.UNREADABLE, None, "The body must be a JSON object.")
    if kind == "value_error":
        reason = str(details["ctx"]["error"])
    else:
        reason = _SAID.get(kind) or details["msg"][:1].lower() + details["msg"][1:]
    fault = Fault.MISSING if kind == "missing" else Fault.INVALID
    return Problem(fault, _shown(str(where[0])), reason, _path(where))


def _path(where: Iterable[str | int]) -> str:
    return _shown(".".join(str(part) for part in where))


def _shown(name: str) -> str:
    return "".join(c if c.isprintable() else "�" for c in name[:_SHOWN])
