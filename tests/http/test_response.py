"""Whole responses: which are answers, and what of them an endpoint keeps."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.accounting import Usage
from llmlb.http.openai.response import MAX_ID_CHARS, kept_of, read_response
from llmlb.http.upstream.faults import FaultKind, UpstreamFault

OUTPUT = [{"type": "message"}]
COUNTED = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


@pytest.mark.parametrize("status", ["completed", None, "queued", "something new", 7, ["failed"]])
def test_a_response_with_output_is_an_answer(status: object) -> None:
    assert read_response(body(status=status, output=OUTPUT, usage=COUNTED)) == (Usage(3, 4, 7), ())


@pytest.mark.parametrize("status", ["queued", "in_progress", "incomplete", "cancelled"])
@pytest.mark.parametrize("output", [{"output": []}, {"output": None}, {}])
def test_one_in_the_background_or_broken_off_needs_no_output(status: str, output: Any) -> None:
    assert read_response(body(status=status, error=None, **output)) == (Usage(), ())


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"status": "completed", "output": []}, "no output"),
        ({"output": {}}, "no output"),
        ({"status": ["queued"]}, "no output"),
        ({"status": "failed", "output": OUTPUT, "error": None}, "failed"),
        ({"status": "failed", "error": {"message": "no memory"}}, "no memory"),
        ({"status": "queued", "error": "no memory"}, "no memory"),
    ],
)
def test_why_a_response_is_no_answer(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(UpstreamFault, match=reason) as fault:
        read_response(body(**fields))
    assert fault.value.kind is FaultKind.BAD_ANSWER


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"id": "resp_1"}, ("resp_1",)),
        ({"id": "resp_1", "store": True, "conversation": None}, ("resp_1",)),
        ({"id": "resp_1", "conversation": {"id": "conv_1"}}, ("resp_1", "conv_1")),
        ({"id": "resp_1", "conversation": "conv_1"}, ("resp_1", "conv_1")),
        ({"id": "resp_1", "store": None, "conversation": {"id": 7}}, ("resp_1",)),
        ({"id": "resp_1", "store": False, "conversation": {"id": "conv_1"}}, ()),
        ({"id": "r" * MAX_ID_CHARS, "conversation": "c" * 1025}, ("r" * MAX_ID_CHARS,)),
        ({"id": "r" * 1025}, ()),
        ({"id": ""}, ()),
        ({"id": 7}, ()),
        ({}, ()),
    ],
)
def test_what_an_endpoint_keeps(fields: dict[str, Any], kept: tuple[str, ...]) -> None:
    assert kept_of(fields) == kept
    answer = body(output=OUTPUT, **fields)
    assert read_response(answer) == (Usage(), kept)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=2)
    ),
    max_leaves=4,
)
fields = st.sampled_from(["id", "store", "conversation", "status", "output", "error", "usage"])


@given(st.dictionaries(fields, json_values).map(lambda told: json.dumps(told).encode()))
def test_any_response_is_taken_or_is_a_fault(whole: bytes) -> None:
    with suppress(UpstreamFault):
        _, kept = read_response(whole)
        assert all(kept)
