"""Write docs/api.md from the OpenAPI document of the code.

`make api-doc` runs it; a test compares the file with what it would write.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from llmlb.http.openapi.document import build_document

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs/api.md"
ADDRESS = "http://127.0.0.1:32768"

JsonObject = dict[str, Any]

HEAD = """\
# The API

<!-- Written by `make api-doc` from the code; a change by hand is lost. -->

`GET /openapi.json` serves the same as OpenAPI 3.1, for machines.

"""


def render(document: JsonObject) -> str:
    """The document for people, as Markdown."""
    return HEAD + "\n\n".join(_Page(document).parts()) + "\n"


class _Page:
    """Owns the document, whose references it resolves."""

    def __init__(self, document: JsonObject) -> None:
        self._document = document
        self._schemas: JsonObject = document["components"]["schemas"]
        self._headers: JsonObject = document["components"]["headers"]

    def parts(self) -> Iterator[str]:
        yield self._document["info"]["description"]
        yield from self._errors()
        for tag in self._document["tags"]:
            yield f"## {tag['name']}"
            for path, operations in self._document["paths"].items():
                for method, operation in operations.items():
                    if operation["tags"] == [tag["name"]]:
                        yield from self._route(method.upper(), path, operation)
        yield "## Shapes"
        for name, schema in sorted(self._schemas.items()):
            yield from self._shape(name, schema)
        yield "## Response headers"
        rows = [(f"`{name}`", said["description"]) for name, said in self._headers.items()]
        yield _table(("header", ""), rows)

    def _route(self, method: str, path: str, operation: JsonObject) -> Iterator[str]:
        yield f"### {method} {path}"
        yield f"{operation['summary']}."
        if "description" in operation:
            yield operation["description"]
        if "parameters" in operation:
            rows = [
                (f"`{p['name']}`", p["in"], self._kind(p["schema"]), p["description"])
                for p in operation["parameters"]
            ]
            yield _table(("parameter", "in", "kind", ""), rows)
        for media_type, said in operation.get("requestBody", {}).get("content", {}).items():
            yield f"Body, `{media_type}`:"
            yield self._fields(said["schema"])
        for status, said in operation["responses"].items():
            if status < "4":
                yield self._answer(status, said)
        yield f"Errors: {'; '.join(self._refusals(operation['responses']))}."
        yield f"```sh\n{_curl(method, path, operation)}\n```"

    def _answer(self, status: str, said: JsonObject) -> str:
        kinds = []
        for media_type, content in said.get("content", {}).items():
            kind = self._kind(content["schema"]) or content["schema"]["description"].rstrip(".")
            kinds.append(f"`{media_type}` ({kind})")
        return f"Answers {status} with {' or '.join(kinds) or 'no body'}. {said['description']}"

    def _refusals(self, responses: JsonObject) -> Iterator[str]:
        """The codes of each status, without those of every route."""
        for status, said in responses.items():
            codes = [code for code, _ in _reasons(status, said) if code not in self._everywhere]
            if codes:
                yield f"{status} {', '.join(codes)}"

    def _errors(self) -> Iterator[str]:
        """Every error once, with its reason; and which of them any route may answer."""
        found: dict[tuple[str, str], str] = {}
        for operations in self._document["paths"].values():
            for operation in operations.values():
                for status, said in operation["responses"].items():
                    found |= {(status, code): reason for code, reason in _reasons(status, said)}
        yield "## Errors"
        rows = [(status, code, reason) for (status, code), reason in sorted(found.items())]
        yield _table(("status", "code", "when"), rows)
        yield f"Any route may answer {', '.join(sorted(self._everywhere))}."

    @cached_property
    def _everywhere(self) -> frozenset[str]:
        """The codes that all routes have."""
        each = [
            frozenset(
                code
                for status, said in operation["responses"].items()
                for code, _ in _reasons(status, said)
            )
            for operations in self._document["paths"].values()
            for operation in operations.values()
        ]
        return frozenset.intersection(*each)

    def _shape(self, name: str, schema: JsonObject) -> Iterator[str]:
        yield f"### {name}"
        if "description" in schema:
            yield " ".join(schema["description"].split())
        if "enum" in schema:
            yield self._kind(schema)
        else:
            yield self._fields(schema)

    def _fields(self, schema: JsonObject) -> str:
        if "$ref" in schema:
            return f"{self._kind(schema)}."
        required = schema.get("required", ())
        told = len(required) < len(schema["properties"])
        rows = [
            (
                f"`{name}`",
                self._kind(said) or "anything",
                *(("yes" if name in required else "",) if told else ()),
                said.get("description", ""),
            )
            for name, said in schema["properties"].items()
            if not said.get("deprecated")
        ]
        ignored = [f"`{n}`" for n, said in schema["properties"].items() if said.get("deprecated")]
        table = _table(("field", "kind", *(("required",) if told else ()), ""), rows)
        return f"{table}\n\nIgnored: {', '.join(ignored)}." if ignored else table

    def _kind(self, schema: JsonObject) -> str:  # noqa: PLR0911 - one case per kind
        """In a few words, what a value may be; empty: anything."""
        match schema:
            case {"$ref": ref}:
                name = ref.rpartition("/")[2]
                return f"[{name}](#{name.lower()})"
            case {"anyOf": alternatives}:
                return " or ".join(dict.fromkeys(self._kind(one) for one in alternatives))
            case {"const": value}:
                return f"`{json.dumps(value)}`"
            case {"enum": values}:
                return " ".join(f"`{value}`" for value in values)
            case {"type": "array", "items": items}:
                return f"list of {self._kind(items) or 'anything'}"
            case {"type": "object", "properties": inner} if len(inner) < 6:
                names = ", ".join(f"`{name}`" for name in inner)
                return f"object with {names}"
            case {"type": "string", "contentMediaType": _}:
                return "bytes"
            case {"type": kind}:
                kinds = [kind] if isinstance(kind, str) else kind
                return " or ".join(kinds) + _bounds(schema)
            case _:
                return ""


def _reasons(status: str, response: JsonObject) -> Iterator[tuple[str, str]]:
    """The codes of a response, each with its reason; none of one that is no error."""
    if status >= "4":
        for line in response["description"].splitlines():
            code, found, reason = line.partition(": ")
            yield (code, reason) if found else ("of the endpoint's own", line)


def _bounds(schema: JsonObject) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    told = []
    if low is not None and high is not None:
        told.append(f"{low} to {high}")
    elif low is not None:
        told.append(f"from {low} on")
    if "maxLength" in schema:
        told.append(f"up to {schema['maxLength']} characters")
    if "maxProperties" in schema:
        told.append(f"up to {schema['maxProperties']} fields")
    if "default" in schema:
        told.append(f"default {schema['default']}")
    return f", {', '.join(told)}" if told else ""


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    escaped = [[cell.replace("|", "&#124;") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def _curl(method: str, path: str, operation: JsonObject) -> str:
    """One request that shows the route."""
    for parameter in operation.get("parameters", ()):
        path = path.replace(f"{{{parameter['name']}}}", str(parameter.get("example", "")))
    contents = operation.get("requestBody", {}).get("content", {})
    usual = method == ("POST" if contents else "GET")
    lines = [f"curl {'' if usual else f'-X {method} '}{ADDRESS}{path}"]
    for media_type, content in contents.items():
        if media_type == "multipart/form-data":
            lines += [f"-F {shlex.quote(f'{k}={v}')}" for k, v in content["example"].items()]
        else:
            lines[0] += f" -H 'content-type: {media_type}'"
            lines.append(f"-d {shlex.quote(json.dumps(content['example']))}")
    if any(media_type.startswith("audio/") for media_type in _produced(operation)):
        lines[0] += " -o answer"
    if set(operation["responses"].get("200", {}).get("content", ())) == {"text/event-stream"}:
        lines[0] += " -N"  # or nothing shows before curl has a buffer full
    return " \\\n  ".join(lines)


def _produced(operation: JsonObject) -> Iterator[str]:
    for response in operation["responses"].values():
        yield from response.get("content", ())


def main() -> None:
    """Write the file."""
    TARGET.write_text(render(build_document()), encoding="utf-8")


if __name__ == "__main__":
    main()
