from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from pypika import Query, Table

from llmlb.store.sql import sql

SOURCES = sorted(Path(__file__).parents[2].joinpath("llmlb", "store").glob("*.py"))
CONSTANT = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE|REPLACE|CREATE|DROP|ALTER|WITH)\s", re.ASCII
)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_no_statement_is_written_or_formatted_by_hand(source: Path) -> None:
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not CONSTANT.match(node.value), f"{source.name}:{node.lineno}: {node.value}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in {"executescript", "executemany"}
            if node.func.attr == "execute":
                assert isinstance(node.args[0], ast.Constant | ast.Name), f"{source.name}"


def test_a_value_that_slips_into_a_query_becomes_a_parameter() -> None:
    table = Table("t")
    query = sql(Query.from_(table).select(table.a).where(table.b == "'; DROP TABLE t; --"))
    assert query == 'SELECT "a" FROM "t" WHERE "b"=?'
