"""Holes: an image goes through a translation without being parsed, and almost uncopied."""

from __future__ import annotations

import base64
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from llmlb.http.anthropic.chat import to_chat
from llmlb.http.anthropic.request import parse_messages
from llmlb.http.holes import take_out
from tests.http.anthropic.requests import body

MIB = 1024 * 1024


def test_a_long_image_arrives_whole_and_short_ones_are_never_taken_out() -> None:
    long, short = base64.b64encode(bytes(range(256)) * 64).decode(), "iVBORw0="
    blocks = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
        for data in (long, short, long)
    ]
    request = parse_messages(body(messages=[{"role": "user", "content": blocks}]))
    assert len(request.holes.taken) == 2
    urls = [
        part["image_url"]["url"]
        for part in json.loads(to_chat(request).body)["messages"][0]["content"]
    ]
    assert urls == [f"data:image/png;base64,{data}" for data in (long, short, long)]


def test_what_is_taken_out_comes_back_from_anywhere() -> None:
    long = "QUJD" * 2000
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {"data": long}}
    sent = body(
        messages=[{"role": "assistant", "content": [call]}],
        tools=[{"name": "f", "input_schema": {"default": {"data": long}}}],
    )
    chat = json.loads(to_chat(parse_messages(sent)).body)
    arguments = chat["messages"][0]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"data": long}
    assert chat["tools"][0]["function"]["parameters"] == {"default": {"data": long}}


@pytest.mark.parametrize(
    "source",
    [
        {"type": "base64", "media_type": "image/png", "data": ""},
        {"type": "url", "url": "data:image/png;base64,"},
    ],
)
def test_an_image_of_10_mib_adds_less_than_3_times_its_size(source: dict[str, str]) -> None:
    image = base64.b64encode(bytes(10 * MIB)).decode()
    last = list(source)[-1]
    source = {**source, last: source[last] + image}
    sent = body(messages=[{"role": "user", "content": [{"type": "image", "source": source}]}])
    del image, source
    tracemalloc.start()
    try:
        chat = to_chat(parse_messages(sent)).body
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(chat) > 13 * MIB
    assert len(sent) + peak_bytes < 30 * MIB


TAKEN, LEFT = ["data", "url", "image_url", "file_data"], ["Data", "text", "dat"]
LEADS = ["", "data:image/png;base64,", "data:application/vnd.x+y;base64,"]


@given(
    st.text(),
    st.builds(str.__mul__, st.sampled_from(["A", "/", "+=", "Ab/"]), st.integers(1020, 4100)),
    st.sampled_from([*TAKEN, *LEFT, '\\"data']),
    st.sampled_from([*LEADS, "data:,", "https://x/"]),
    st.sampled_from(["/", r"\/"]),
)
def test_taking_out_and_filling_in_changes_nothing(
    before: str, data: str, name: str, lead: str, slash: str
) -> None:
    fields = {"before": before, name: lead + data, "after": [before]}
    sent = json.dumps(fields).replace("/", slash).encode()
    hollow, holes = take_out(sent)
    assert holes.fill(hollow) == sent
    assert {**json.loads(hollow), name: lead + data} == fields
    is_long = len(data.replace("/", slash)) >= 4096
    if name in TAKEN and lead in LEADS:
        assert len(holes.taken) == is_long
    elif name in LEFT:
        assert not holes.taken


@given(
    st.binary(max_size=40),
    st.sampled_from([b"\\", b'"', b"\\x", b"\\u00", b"\n", b"\x00", b"\xff"]),
)
def test_what_is_no_base64_stays_for_the_parser_to_judge(around: bytes, odd: bytes) -> None:
    data = b"A" * 5000
    for text in (data + odd + data, odd + data, data + odd):
        sent = b'{"data":"' + text + b'"}' + around
        hollow, holes = take_out(sent)
        assert holes.fill(hollow) == sent
        assert _is_json(hollow) == _is_json(sent)


def _is_json(text: bytes) -> bool:
    try:
        from_json(text)
    except ValueError:
        return False
    return True
