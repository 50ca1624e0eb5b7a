"""Answers and errors of endpoints: whatever they hold, they are read or refused in good order."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.accounting import Usage
from llmlb.errors import EndpointRefusal
from llmlb.http.openai.answer import read_answer, read_error, read_transcript, read_usage
from llmlb.http.render import error_body
from llmlb.http.upstream.faults import FaultKind, UpstreamFault

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)
known_fields = st.dictionaries(
    st.sampled_from(
        ["error", "detail", "message", "msg", "code", "type", "param", "choices", "data", "usage"]
    ),
    json_values,
)
bodies = st.one_of(
    st.binary(max_size=100),
    json_values.map(lambda value: json.dumps(value).encode()),
    known_fields.map(lambda value: json.dumps(value).encode()),
    known_fields.map(lambda value: json.dumps({"error": value}).encode()),
)


@given(body=bodies, results=st.sampled_from(["choices", "data", "output", "results"]))
def test_an_answer_is_taken_or_is_a_fault(body: bytes, results: str) -> None:
    fault = None
    try:
        read_answer(results, body)
    except UpstreamFault as caught:
        fault = caught
    if fault is None:
        assert json.loads(body)[results]
    else:
        assert fault.kind is FaultKind.BAD_ANSWER
        assert str(fault)


@given(status=st.integers(100, 599), body=bodies)
def test_any_error_can_be_told_to_a_client(status: int, body: bytes) -> None:
    said = read_error(status, body)

    assert 0 < len(said.message) <= 2000
    assert said.type
    assert said.code is None or len(said.code) <= 100
    assert said.param is None or isinstance(said.param, str)
    whole = json.loads(error_body(EndpointRefusal(status, said)))
    assert whole["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("field", ["message", "type", "code", "param"])
def test_half_a_character_in_an_error_can_be_told_and_shown(field: str) -> None:
    said = read_error(400, json.dumps({"error": {"message": "x", field: "a\ud800b"}}).encode())
    assert getattr(said, field) == "a?b"


@given(usage=json_values | known_fields)
def test_any_usage_is_read(usage: Any) -> None:
    read_usage(usage)


@given(
    usage=st.dictionaries(
        st.sampled_from(["prompt_tokens", "completion_tokens", "total_tokens"]),
        st.integers(-(2**70), 2**70) | st.floats() | st.none() | st.booleans(),
    )
)
def test_only_counts_are_counts(usage: dict[str, Any]) -> None:
    read = read_usage(usage)
    for count in (read.input_tokens, read.output_tokens, read.total_tokens):
        assert count is None or 0 <= count < 2**48


def test_usage_in_full() -> None:
    whole = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 9, "cached": 1}
    assert read_usage(whole) == Usage(3, 4, 9)
    assert read_usage({"prompt_tokens": 3}) == Usage(3)


@pytest.mark.parametrize("depth", [*range(150, 900, 50), *range(900, 1010), 5000, 100_000])
@pytest.mark.parametrize("frame", [b"%s", b'{"error": %s}', b'{"detail": %s}', b'{"message": %s}'])
def test_no_depth_of_json_breaks_the_reader(depth: int, frame: bytes) -> None:
    body = frame % (b"[" * depth + b"]" * depth)

    assert read_error(400, body).message
    with pytest.raises(UpstreamFault):
        read_answer("choices", body)


@pytest.mark.parametrize("number", [b"1" * 5000, b"1e999", b"NaN", b"-Infinity"])
def test_no_number_breaks_the_reader(number: bytes) -> None:
    assert read_error(400, b'{"error": {"code": %s, "message": %s}}' % (number, number)).message
    with pytest.raises(UpstreamFault):
        read_answer("choices", b'{"error": %s}' % number)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty body"),
        (b"\n\t ", "empty body"),
        (b"<html>", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "no choices"),
        (b'{"choices": {}}', "no choices"),
        (b'{"error": {"message": "oom", "code": 1}}', "The endpoint answered: oom"),
        (b'{"error": "oom", "choices": [{}]}', "The endpoint answered: oom"),
        (b'{"error": {}, "choices": []}', "no choices"),
    ],
)
def test_why_an_answer_is_none(body: bytes, reason: str) -> None:
    with pytest.raises(UpstreamFault, match=reason):
        read_answer("choices", body)


def test_an_error_of_null_is_no_error() -> None:
    usage = read_answer("choices", b'{"error": null, "choices": [{}], "usage": null}')
    assert usage == Usage()


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (b'{"text": "Hello."}', Usage()),
        (b'{"text": ""}', Usage()),
        (b'\xef\xbb\xbf {"text": "Hello.", "error": null}', Usage()),
        (b'{"text": "x", "usage": {"type": "tokens", "input_tokens": 3}}', Usage(3)),
        (b'{"text": "x", "usage": {"type": "duration", "seconds": 9}}', Usage()),
        (b'{"task": "transcribe", "text": "x", "segments": [], "words": []}', Usage()),
        (b"Hello.", Usage()),
        (b"WEBVTT\n\n00:00.000 --> 00:01.000\nHello.\n", Usage()),
        (b"1\n00:00:00,000 --> 00:00:01,000\nHello.\n", Usage()),
        (b"{laughs} Hello.", Usage()),
        (b"[Music]", Usage()),
        (b"42", Usage()),
        (b'"Hello."', Usage()),
        (b"null", Usage()),
        (b"\n", Usage()),
        (b"\xff", Usage()),
    ],
)
def test_a_transcript_is_json_with_a_text_or_any_text(body: bytes, usage: Usage) -> None:
    assert read_transcript(body) == usage


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty body"),
        (b"{}", "no text"),
        (b'{"text": null}', "no text"),
        (b'{"text": ["x"]}', "no text"),
        (b'{"error": {"message": "oom"}}', "The endpoint answered: oom"),
        (b'{"error": "oom", "text": "x"}', "The endpoint answered: oom"),
    ],
)
def test_why_a_transcript_is_none(body: bytes, reason: str) -> None:
    with pytest.raises(UpstreamFault, match=reason):
        read_transcript(body)


@given(body=bodies)
def test_no_body_breaks_the_reader_of_transcripts(body: bytes) -> None:
    with contextlib.suppress(UpstreamFault):
        read_transcript(body)
