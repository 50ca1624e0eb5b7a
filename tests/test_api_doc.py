"""docs/api.md says what the OpenAPI document says, and every example in it can be typed."""

from __future__ import annotations

import shlex
from typing import Any

from llmlb.http.openapi.document import build_document
from scripts.api_doc import HEAD, TARGET, render

DOCUMENT = build_document()


def test_the_page_is_up_to_date() -> None:
    assert TARGET.read_text(encoding="utf-8") == render(DOCUMENT), "run: make api-doc"


def test_every_route_has_an_example_that_calls_it() -> None:
    _, *sections = render(DOCUMENT).split("\n### ")
    shown = {section.partition("\n")[0]: section for section in sections}
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            text = shown[f"{method.upper()} {path}"]
            _, found, example = text.partition("```sh\n")
            assert found, path
            words = shlex.split(example.partition("\n```")[0])
            assert words[0] == "curl"
            assert any(word.startswith("http://127.0.0.1:32768/") for word in words)
            assert bool({"-d", "-F"} & set(words)) == ("requestBody" in operation)


def page(**operation: Any) -> str:
    """The page of a document of one operation."""
    document = {
        "info": {"description": "About it."},
        "tags": [{"name": "Things"}],
        "components": {"schemas": {}, "headers": {}},
        "paths": {
            "/things": {"post": {"tags": ["Things"], "summary": "Make one", **operation}},
        },
    }
    return render(document)


def test_a_form_is_sent_by_its_fields() -> None:
    schema = {
        "type": "object",
        "properties": {
            "file": {
                "type": "string",
                "contentMediaType": "application/octet-stream",
                "description": "A recording.",
            },
            "model": {"type": "string"},
        },
        "required": ["file", "model"],
    }
    content = {"schema": schema, "example": {"file": "@a b.wav", "model": "tiny"}}
    shown = page(
        requestBody={"content": {"multipart/form-data": content}},
        responses={"204": {"description": "Made."}, "404": {"description": "`gone`: It is gone."}},
    )
    assert shown.startswith(HEAD + "About it.\n")
    assert "| `file` | bytes | A recording. |" in shown
    assert "Answers 204 with no body. Made." in shown
    assert "| 404 | `gone` | It is gone. |" in shown
    assert "Any route may answer `gone`." in shown
    assert (
        "curl http://127.0.0.1:32768/things \\\n  -F 'file=@a b.wav' \\\n  -F model=tiny" in shown
    )


def test_the_kinds_of_fields_are_told_in_words() -> None:
    fields = {
        "a": {"type": ["integer", "null"], "minimum": 1},
        "b": {"anyOf": [{"type": "string", "maxLength": 9}, {"type": "null"}]},
        "c": {"type": "array", "items": {}},
        "d": {"const": True},
        "e": {"enum": ["x", "y|z"]},
        "f": {"description": "Whatever."},
        "g": {"deprecated": True},
        "h": {"$ref": "#/components/schemas/Thing"},
        "i": {"type": "object", "maxProperties": 3},
    }
    content = {"schema": {"type": "object", "properties": fields, "required": ["a"]}}
    shown = page(
        requestBody={"content": {"application/json": {**content, "example": {"a": 1}}}},
        responses={},
    )
    for row in (
        "| `a` | integer or null, from 1 on | yes |  |",
        "| `b` | string, up to 9 characters or null |  |  |",
        "| `c` | list of anything |  |  |",
        "| `d` | `true` |  |  |",
        "| `e` | `x` `y&#124;z` |  |  |",
        "| `f` | anything |  | Whatever. |",
        "| `h` | [Thing](#thing) |  |  |",
        "| `i` | object, up to 3 fields |  |  |",
        "Ignored: `g`.",
    ):
        assert row in shown
