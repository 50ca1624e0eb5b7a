"""The quick reading of a request: never more lenient than the strict one, and mostly enough."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmlb.errors import InvalidJson, LbError
from llmlb.http.openai import routed
from llmlb.http.openai.routed import QUICKLY_UP_TO_BYTES, Routed, read_routed

FIELDS = (
    "model",
    "stream",
    "stream_options",
    "n",
    "prompt",
    "previous_response_id",
    "conversation",
    "store",
    "stream_format",
)

ODD = [
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b'"\xc0\xaf"',
    b'"\\ud800"',
    b'"\\ud83d\\ude00"',
    b'"\\udE00\\ud83d"',
    b'"a\nb"',
    b'"\x7f\\u0000"',
    b'"\\q"',
    b'"\\u12g4"',
    b"NaN",
    b"-Infinity",
    b"01",
    b"1.",
    b"-",
    b"-0",
    b".5",
    b"1e999",
    b"-1E-999",
    b"1" * 20,
    b"18446744073709551616",
    b"-9223372036854775809",
    b"1" * 400,
    b"1" * 4299,
    b"1" * 4300,
    b"1" * 4301,
    b"-" + b"1" * 4301,
    b"0." + b"1" * 9000,
    b"tru",
    b"nul",
    b"'a'",
    b"/* */1",
    b"[1,]",
    b'{"a":1,}',
    b'{"a":1,"a":2}',
    b"{1:2}",
    b"\xef\xbb\xbf1",
    b"\x0b1",
    b"[" * 150 + b"]" * 150,
    b"[" * 199 + b"]" * 199,
    b"[" * 201 + b"]" * 201,
    b'{"a":' * 201 + b"1" + b"}" * 201,
    b'["]",' * 201 + b"1" + b"]" * 201,
    b'["\\\\","]\\"",' * 201 + b"1" + b"]" * 201,
    b"[" * 1100 + b"]" * 1100,
    b"[" + b"[]," * 300 + b"[]]",
    b'["' + b"[" * 300 + b'"]',
]

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)
values = st.one_of(
    plain.map(lambda value: json.dumps(value).encode()),
    st.text(max_size=6)
    .map(lambda text: json.dumps(text, ensure_ascii=False))
    .map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(ODD),
)
names = st.sampled_from([*FIELDS, "mod\\u0065l", "messages", "x", "\\ud800"]).map(str.encode)
blanks = st.sampled_from([b"", b"", b" ", b"\r\n\t", b"\x0c"])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """An object of these fields, valid or not, with a model most of the time."""
    members = draw(st.lists(st.tuples(names, values), max_size=5))
    if draw(st.integers(0, 4)):
        members.insert(draw(st.integers(0, len(members))), (b"model", b'"m"'))
    blank = draw(blanks)
    inner = (b"," + blank).join(b'"%b"%b:%b' % (name, blank, value) for name, value in members)
    return blank + b"{" + inner + b"}" + blank


def judged(text: bytes) -> Routed | None:
    """What pydantic's parser makes of it; None if that refuses it."""
    try:
        return routed._read_strictly(text)
    except LbError:
        return None


def same(one: Routed, other: Routed) -> bool:
    """Of one type, too: neither `1` for `true` nor `1.0` for `1`."""
    return repr(one) == repr(other)


@settings(max_examples=500)
@given(body=bodies(), at=st.integers(0, 300), byte=st.binary(max_size=1), cut=st.integers(0, 2))
def test_what_is_read_quickly_is_read_alike_and_accepted_by_the_strict_parser(
    body: bytes, at: int, byte: bytes, cut: int
) -> None:
    for text in (body, body[:at] + byte + body[at + cut :]):
        quick = routed._read_quickly(text)
        if quick is not None:
            strict = judged(text)
            assert strict is not None, text
            assert same(quick, strict)


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value[:12]))
@pytest.mark.parametrize("name", [b"x", b"n", b"stream_options", b"prompt"])
@pytest.mark.parametrize("padding", [0, 4290, 4310, 8590])
def test_what_is_odd_is_judged_as_by_the_strict_parser(
    value: bytes, name: bytes, padding: int
) -> None:
    text = b'{"a":"%b","model":"m","%b":%b}' % (b"y" * padding, name, value)
    strict = judged(text)
    if strict is None:
        with pytest.raises(InvalidJson):
            read_routed(text)
    else:
        assert same(read_routed(text), strict)


@given(st.binary(max_size=40))
@example(b"")
@example(b"[]")
@example(b'{"model":""}')
@example(b'{"model":1,"model":"b"}')
@example(b'{"model":"b","model":1}')
def test_any_bytes_get_the_verdict_of_the_strict_parser(text: bytes) -> None:
    strict = judged(text)
    try:
        read = read_routed(text)
    except LbError:
        assert strict is None
    else:
        assert strict is not None
        assert same(read, strict)


TURN = {"role": "user", "content": [{"type": "text", "text": 'Grüße {["\\"]} 👋 \\'}]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {}}}}}


@pytest.mark.parametrize("n_turns", [1, 60, 400])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_what_clients_send_is_read_quickly(
    n_turns: int, ascii_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    body: dict[str, Any] = {"model": "m", "messages": [TURN] * n_turns, "tools": [TOOL] * 20}
    body |= {"stream": True, "stream_options": {"include_usage": True}, "n": 2, "seed": 10**12}
    text = json.dumps(body, ensure_ascii=ascii_only).encode()
    monkeypatch.setattr(routed, "_read_strictly", lambda _: pytest.fail("it was read twice"))

    read = read_routed(text)

    assert (read.model, read.stream, read.n) == ("m", True, 2)
    assert read.stream_options == {"include_usage": True}


def test_what_is_very_large_is_left_to_the_strict_parser() -> None:
    text = b'{"model":"m","x":"%b"}' % (b"x" * QUICKLY_UP_TO_BYTES)
    assert routed._read_quickly(text) is None
    assert read_routed(text).model == "m"
