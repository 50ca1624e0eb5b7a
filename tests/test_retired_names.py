"""The older product's words appear only where its leftovers are ignored or its files read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from llmlb.endpoint_form import EndpointEdit
from llmlb.store.rows import CHOSEN, OBSERVED
from llmlb.types import Endpoint

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("llmlb/**/*.py"), *ROOT.glob("llmlb/**/*.sql")])

RETIRED = re.compile(r"\bNode\b|NodeRegistry|node_registry|endpoint_?type", re.IGNORECASE)

READS_OLDER_FILES = frozenset(
    ROOT / "llmlb/store" / name for name in ("import_history.py", "import_json.py")
)
IGNORED_FIELDS = ROOT / "llmlb/endpoint_form.py"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_retired_name_is_left(source: Path) -> None:
    if source in READS_OLDER_FILES:
        return
    lines = [line for line in source.read_text().splitlines() if RETIRED.search(line)]
    if source == IGNORED_FIELDS:
        assert [line.strip().partition(":")[0] for line in lines] == ["leftovers"]
    else:
        assert not lines


def test_what_is_named_as_reading_older_files_is_there() -> None:
    assert set(SOURCES) > READS_OLDER_FILES


def test_neither_an_endpoint_nor_its_row_nor_its_form_has_a_type_to_choose() -> None:
    names = {field.name for field in fields(Endpoint)} | {*CHOSEN, *OBSERVED}
    names |= EndpointEdit.model_fields.keys()
    assert not [name for name in names if name.endswith("type")]
    assert "engine" in OBSERVED, "it is only ever detected"
    assert "engine" not in {*CHOSEN, *EndpointEdit.model_fields}


MEANINGLESS = re.compile(r"(^|_)(node|backend|manager|helper|util)s?(_|$)")
"""Words for which the house has better ones, in names of ours."""


def names_given(tree: ast.Module) -> Iterator[str]:
    for part in ast.walk(tree):
        if isinstance(part, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield re.sub(r"(?<=[a-z])(?=[A-Z])", "_", part.name).lower()


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_use_the_words_of_the_house(source: Path) -> None:
    names = [source.stem]
    if source.suffix == ".py" and source not in READS_OLDER_FILES:
        names += names_given(ast.parse(source.read_text()))
    assert not [name for name in names if MEANINGLESS.search(name)]
