"""Holes: an image goes through a translation without being parsed, and almost uncopied."""

from __future__ import annotations

import base64
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.http.anthropic.chat import to_chat
from llmlb.http.holes import take_out
from llmlb.http.anthropic.request import parse_messages
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


@given(st.text(), st.integers(4090, 4100), st.sampled_from(["data", "Data", '\\"data', "text"]))
def test_taking_out_and_filling_in_changes_nothing(before: str, length: int, name: str) -> None:
    sent = json.dumps({"before": before, name: "A" * length, "after": [before]}).encode()
    hollow, holes = take_out(sent)
    assert holes.fill(hollow) == sent
    assert json.loads(hollow)["after"] == [before]
