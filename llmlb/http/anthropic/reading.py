"""How one JSON object of a request is read, so that every fault names its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from llmlb.errors import InvalidRequest, MissingField

T = TypeVar("T")

_NAMES: dict[type, str] = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    list: "an array",
    dict: "an object",
}


@dataclass(frozen=True, slots=True)
class Reader:
    """One object, and where it stands in the request, as in `messages.0.content.1`."""

    fields: dict[str, Any]
    place: str = ""

    def at(self, name: str) -> str:
        """Where the field *name* stands."""
        return f"{self.place}.{name}" if self.place else name

    def required(self, name: str, kind: type[T]) -> T:
        """The field of this kind. Raises MissingField, InvalidRequest."""
        value = self.optional(name, kind)
        if value is None:
            raise MissingField(f"'{self.at(name)}' is required.", param=self.at(name))
        return value

    def optional(self, name: str, kind: type[T]) -> T | None:
        """The field, or None where it is absent or null. Raises InvalidRequest."""
        value = self.fields.get(name)
        if value is None:
            return None
        if not _is(value, kind):
            raise self.fault(name, f"must be {_NAMES[kind]}")
        return value  # type: ignore[no-any-return]  # JSON, and just looked at

    def inner(self, name: str) -> Reader | None:
        """The object in the field *name*, or None."""
        value = self.optional(name, dict)
        return None if value is None else Reader(value, self.at(name))

    def objects(self, name: str) -> list[Reader]:
        """The objects of a list; none where it is absent. Raises InvalidRequest."""
        readers = []
        for position, item in enumerate(self.optional(name, list) or ()):
            place = f"{name}.{position}"
            if not isinstance(item, dict):
                raise self.fault(place, "must be an object")
            readers.append(Reader(item, self.at(place)))
        return readers

    def text_or_blocks(self, name: str) -> str | list[Reader]:
        """A string, or the blocks of a list, each with its type. Raises InvalidRequest."""
        value = self.fields.get(name)
        if isinstance(value, str):
            return value
        if not isinstance(value, list):
            raise self.fault(name, "must be a string or an array of content blocks")
        blocks = self.objects(name)
        for block in blocks:
            block.required("type", str)
        return blocks

    def fault(self, name: str, why: str) -> InvalidRequest:
        """What to raise about the field *name*; *why* ends the sentence."""
        return InvalidRequest(f"'{self.at(name)}' {why}.", param=self.at(name))


def _is(value: object, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)
