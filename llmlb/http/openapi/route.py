"""What is said of one route: the words in which the tables of this room are written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from llmlb.errors import LbError
from llmlb.http.access.needs import NEEDS, Need

JsonSchema = dict[str, Any]

BINARY: JsonSchema = {"type": "string", "contentMediaType": "application/octet-stream"}

Shape = type[BaseModel] | JsonSchema
"""A model, which gets a place among the document's schemas, or a schema as it stands."""


_NEEDS = {
    (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)): need
    for (method, _, rule), need in ((line.partition(" "), need) for line, need in NEEDS.items())
}
"""By method and path."""


@dataclass(frozen=True, slots=True)
class Content:
    """A body of one media type."""

    media_type: str
    shape: Shape
    example: object = None


@dataclass(frozen=True, slots=True)
class Answer:
    """How a route answers when all went well; without a content it has no body."""

    status: int
    says: str
    contents: tuple[Content, ...] = ()


@dataclass(frozen=True, slots=True)
class Parameter:
    """Something that is said in the path or the query, as text."""

    name: str
    says: str
    schema: JsonSchema
    place: str = "query"
    example: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One line of the url_map, for each of its methods."""

    methods: tuple[str, ...]
    path: str
    """With `{name}` for each of its parameters."""
    name: str
    """The operation's id; methods after the first put theirs before it."""
    tag: str
    summary: str
    says: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Content | None = None
    answers: tuple[Answer, ...]
    errors: tuple[type[LbError], ...] = ()
    """Beside those of every route; EndpointRefusal: and whatever an endpoint says."""
    headers: Mapping[str, JsonSchema]
    """Of every response."""
    anthropic: bool = False
    """Errors come in Anthropic's shape."""

    @property
    def need(self) -> Need:
        """What it asks of its caller: the same for each of its methods."""
        return _NEEDS[self.methods[0], self.path]


def open_object(required: Sequence[str] = (), **properties: JsonSchema) -> JsonSchema:
    """An object that has *properties*, and may have others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": True,
    }


def json_content(shape: Shape, example: object = None) -> Content:
    """A body of JSON."""
    return Content("application/json", shape, example)


def event_stream(says: str) -> Content:
    """An answer that is a stream of server-sent events."""
    return Content("text/event-stream", {"description": says})


def multipart_content(
    files: Mapping[str, str], fields: Mapping[str, JsonSchema], example: Mapping[str, str]
) -> Content:
    """A body of `multipart/form-data`: *files* that must be there, by name, and *fields*.

    `model` must be there, too. The *example* names a local file after an `@`, as curl does.
    """
    uploads = {name: {**BINARY, "description": says} for name, says in files.items()}
    schema = open_object((*files, "model"), **uploads, **fields)
    return Content("multipart/form-data", schema, dict(example))
