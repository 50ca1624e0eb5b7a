"""Which headers of ours a response has."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from llmlb.http.openapi.route import JsonSchema


def _header(says: str, schema: JsonSchema, *, required: bool = False) -> JsonSchema:
    return {"description": says, "schema": schema, "required": required}


_COUNT: JsonSchema = {"type": "integer", "minimum": 0}
_TEXT: JsonSchema = {"type": "string"}

HEADERS: Mapping[str, JsonSchema] = MappingProxyType(
    {
        "x-request-id": _header(
            "The request's own, if it is a sane token, else a new one; the log has it, too.",
            _TEXT,
            required=True,
        ),
        "retry-after": _header("Seconds after which to come back, where that is known.", _COUNT),
        "x-llmlb-endpoint": _header("The name of the endpoint that answers.", _TEXT),
        "x-llmlb-model": _header("What that endpoint calls the model.", _TEXT),
        "x-llmlb-attempts": _header("How many endpoints have been asked.", _COUNT),
        "x-llmlb-queue-ms": _header("Time in line.", _COUNT),
        "x-queue-status": _header("There if the request had to wait.", {"const": "queued"}),
        "x-queue-wait-ms": _header("Time in line, if the request had to wait.", _COUNT),
        "x-should-retry": _header(
            "Tells SDKs that other endpoints have been tried already.", {"const": "false"}
        ),
        "x-llmlb-notes": _header("What of the request could not be passed on.", _TEXT),
    }
)
"""All of them, as they stand among the document's components."""


def _refs(*names: str) -> Mapping[str, JsonSchema]:
    return MappingProxyType({name: {"$ref": f"#/components/headers/{name}"} for name in names})


OF_ALL = _refs("x-request-id")
OF_EXCHANGES = _refs(*(name for name in HEADERS if name != "retry-after"))
RETRY_AFTER = _refs("retry-after")
