"""Members of a JSON text: found and replaced in their places, and nothing else touched."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.errors import InvalidRequest
from llmlb.http.members import MAX_TOKENS, is_named_twice, renaming, values_of
from llmlb.http.splicing import edited


def renamed(text: bytes, name: str, value: str) -> bytes:
    return edited(text, renaming(text, name, value))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b'{"model":"m"}', [b'"m"']),
        (b' { "model" : "m" , "x": 1 } ', [b'"m"']),
        (b'{"a":{"model":"no"},"model":"m"}', [b'"m"']),
        (b'{"a":["model","no"],"b":"model","model":"m"}', [b'"m"']),
        (b'{"model":"a","x":[1,{"model":"no"}],"model":"b"}', [b'"a"', b'"b"']),
        (b'{"mod\\u0065l":"m"}', [b'"m"']),
        (b'{"x":"\\"model\\":\\"no\\"","model":"a\\"}{b"}', [b'"a\\"}{b"']),
        (b'{"model":null,"x":"no"}', [b"null"]),
        (b'{"x":1,"model": -1.5e3 }', [b"-1.5e3"]),
        (b'{"model":{"model":["no"]} ,"y":1}', [b'{"model":["no"]}']),
        (b'{"model":[{}, "]"],"y":1}', [b'[{}, "]"]']),
        (b'["model","no"]', []),
        (b'[{"model":"no"}]', []),
        (b'"model"', []),
        (b"", []),
        (b'{"x":"\\ud800","model":"m"}', [b'"m"']),
    ],
)
def test_only_values_of_the_outermost_object_are_found(text: bytes, found: list[bytes]) -> None:
    assert [text[start:end] for start, end in values_of(text, "model")] == found


def test_the_rest_stays_as_it_was_written() -> None:
    body = b' {"seed":123456789012345678901234567890, "t":1.10,\n"model" : "a", "u":"\\u00e9"} '
    assert renamed(body, "model", "b/c:d") == body.replace(b'"a"', b'"b/c:d"')


def test_a_text_without_the_member_is_the_same_object() -> None:
    body = b'{"x":"model"}'
    assert renamed(body, "model", "b") is body


def test_a_long_text_is_not_looked_through_once_the_member_is_found() -> None:
    # What follows is no JSON, and is not noticed.
    body = b'{"model":"a","x":' + b"[" * 1000
    assert renamed(body, "model", "b") == body.replace(b'"a"', b'"b"')


@pytest.mark.parametrize(
    ("text", "twice"),
    [
        (b'{"model":"a"}', False),
        (b'{"x":"model","model":"a"}', False),
        (b'{"x":{"model":"a"},"y":[{"model":"b"}],"model":"c"}', False),
        (b'{"x":"\\u0041","model":"a"}', False),
        (b'{"model":"a","model":"b"}', True),
        (b'{"model":"a","x":{"model":1},"MoDeL" : "b"}', True),
        (b'{"mod\\u0065l":"a","model":"b"}', True),
        (b'{"mod\\u0065l":"a","\\u004dodel":"b"}', True),
        (b"{}", False),
    ],
)
def test_a_member_that_is_there_twice_is_found(text: bytes, twice: bool) -> None:
    assert is_named_twice(text, "model") is twice


@pytest.mark.parametrize("many", [b"[]", b'""', b'{"x":1}', b'"x"'])
@pytest.mark.parametrize(
    "text",
    [
        b'{"x":"\\u0041","y":[%b],"model":"a"}',
        b'{"y":[%b],"model":"a"}',
        b'{"model":[%b],"x":"model"}',
    ],
)
def test_a_text_of_too_many_values_is_not_looked_through(text: bytes, many: bytes) -> None:
    """It would hold up everybody else, for a minute if it is as long as a body may be."""
    text %= b",".join([many] * MAX_TOKENS)

    with pytest.raises(InvalidRequest, match="1,000,000 values"):
        values_of(text, "model")


def test_nor_is_one_whose_values_are_in_several_members() -> None:
    half = b",".join([b'""'] * (MAX_TOKENS // 2))
    text = b'{"model":[%b],"model":[%b],"model":""}' % (half, half)

    with pytest.raises(InvalidRequest):
        renaming(text, "model", "b")
    with pytest.raises(InvalidRequest):
        is_named_twice(b'{"x":[%b],"y":[%b],"z":"\\u0041"}' % (half, half), "model")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just("model"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("model"), inner),
    max_leaves=20,
)


@given(
    st.dictionaries(st.text() | st.just("model"), _json),
    st.text(),
    st.booleans(),
    st.sampled_from([None, 1]),
)
def test_any_object_gets_its_new_value_and_no_other(
    fields: dict[str, Any], value: str, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(fields, ensure_ascii=ascii_only, indent=indent)
    changed = json.loads(renamed(text.encode("utf-8", "surrogatepass"), "model", value))
    assert changed == (fields | {"model": value} if "model" in fields else fields)


@given(st.binary() | st.text(alphabet='{}[]",:\\model').map(str.encode))
def test_no_bytes_break_it(text: bytes) -> None:
    for start, end in values_of(text, "model"):
        assert 0 <= start <= end <= len(text)
