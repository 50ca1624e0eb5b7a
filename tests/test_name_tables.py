"""How names that stand for others are written, and what is said of broken tables."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.name_tables import (
    MOST_ALTERNATIVES,
    MOST_ENTRIES,
    NAME_CHARS,
    NameTable,
    fallback_chain,
    parse_fallbacks,
    parse_table,
)

NAMES = st.text("abc/:.- ", min_size=1, max_size=6).filter(lambda t: t.strip() == t)
TABLES = st.dictionaries(NAMES, st.lists(NAMES, min_size=1, max_size=4, unique=True), max_size=6)


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("", ()),
        ("{}", ()),
        ("fast=llama3.1:8b", (("fast", ("llama3.1:8b",)),)),
        (
            " fast = llama3.1:8b , big=org/a:x|b |c,",
            (("fast", ("llama3.1:8b",)), ("big", ("org/a:x", "b", "c"))),
        ),
        ("a=b=c", (("a", ("b=c",)),)),
        ("a=b|b", (("a", ("b",)),)),
        (' {"a, b": "x|y"}', (("a, b", ("x|y",)),)),
        ('{"a": ["x", "y"], "b": "z"}', (("a", ("x", "y")), ("b", ("z",)))),
    ],
)
def test_both_forms_are_read(text: str, table: NameTable) -> None:
    assert parse_table(text) == table


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("fast", "'fast' lacks a '='"),
        ("fast=", "blank name"),
        ("=x", "blank name"),
        ("a=b,a=c", "names 'a' twice"),
        ('{"a": "b", "a": "c"}', "names 'a' twice"),
        ("a=b|a", "lets 'a' stand for itself"),
        ("{", "is not JSON: "),
        ('{"a": "b"} x', "is not JSON: "),
        ('{"a":' * 100_000, "is not JSON: "),
        ('{"a": 1' + "0" * 5000 + "}", "is not JSON: "),
        ('{"a": 1}', "must give 'a' a name or a list of names"),
        ('{"a": [1]}', "must give 'a' a name or a list of names"),
        ('{"a": {"b": "c"}}', "must give 'a' a name or a list of names"),
        ('{"a": []}', "must give 'a' at least one name"),
        ('{"a": "b\\u0007"}', "control characters"),
        (f"a={'x' * (NAME_CHARS + 1)}", f"more than {NAME_CHARS} characters"),
        ("a=" + "|".join(f"m{n}" for n in range(MOST_ALTERNATIVES + 1)), "more than 32 names"),
        (",".join(f"a{n}=m" for n in range(MOST_ENTRIES + 1)), "more than 1000 entries"),
        (17, "must be an object of names"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(given: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        parse_table(given)
    assert len(str(refused.value)) < 1000


def test_fallbacks_may_not_go_in_circles() -> None:
    with pytest.raises(ValueError, match="goes in circles: ") as refused:
        parse_fallbacks("x=a, a=b|q, b=c, c=a")
    told = str(refused.value)
    assert any(way in told for way in ("'a' → 'b' → 'c' → 'a'", "'b' → 'c' → 'a' → 'b'")) or (
        "'c' → 'a' → 'b' → 'c'" in told
    )
    assert len(parse_fallbacks(",".join(f"m{n}=m{n + 1}" for n in range(MOST_ENTRIES)))) == 1000


def test_a_chain_goes_on_with_the_fallbacks_of_fallbacks_each_once() -> None:
    fallbacks = dict(parse_fallbacks("big=medium|small, medium=small|tiny, small=tiny"))
    assert fallback_chain("big", fallbacks) == ("medium", "small", "tiny")
    assert fallback_chain("tiny", fallbacks) == ()


@given(TABLES)
def test_a_table_survives_being_written_as_json(given: dict[str, list[str]]) -> None:
    sound = {name: values for name, values in given.items() if name not in values}
    table = tuple((name, tuple(values)) for name, values in sound.items())
    assert parse_table(json.dumps(sound)) == table
    assert parse_table(sound) == table


@given(st.text(max_size=60) | st.text('{}[]":,=|ab \\', max_size=30))
def test_any_text_is_a_table_or_a_reason(text: str) -> None:
    try:
        table = parse_fallbacks(text)
    except ValueError as refused:
        assert str(refused)  # noqa: PT017 - every text may be refused, or not
        return
    for name, values in table:
        assert values
        assert all(n.strip() == n and n.isprintable() for n in (name, *values))
        assert name not in fallback_chain(name, dict(table))
