"""Nothing swallows an error without saying why, and nothing of the product is an assert."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(ROOT.glob("llmlb/**/*.py"))
BROAD = {"Exception", "BaseException", "BaseExceptionGroup", "ExceptionGroup"}
REASON_CHARS = 15
"""A shorter comment is none."""


def names(caught: ast.expr | None) -> set[str]:
    """The classes that an `except` catches; a bare one catches all."""
    if caught is None:
        return {"BaseException"}
    parts = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return {ast.unparse(part) for part in parts}


def is_raised_again(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(part, ast.Raise) and part.exc is None for part in ast.walk(handler))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_broad_except_raises_again_or_says_why_not(source: Path) -> None:
    text = source.read_text()
    lines = text.splitlines()
    for part in ast.walk(ast.parse(text)):
        if not isinstance(part, ast.ExceptHandler) or not names(part.type) & BROAD:
            continue
        beside = " ".join(lines[part.lineno - 1 : part.body[0].lineno])
        reason = beside.partition("#")[2].strip()
        assert is_raised_again(part) or len(reason) >= REASON_CHARS, f"line {part.lineno}"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_assert_stands_in_the_product(source: Path) -> None:
    asserts = [p for p in ast.walk(ast.parse(source.read_text())) if isinstance(p, ast.Assert)]
    assert not asserts
