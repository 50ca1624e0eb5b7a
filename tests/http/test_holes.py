"""Holes: an image goes through parsing and translation almost uncopied, however it is written."""

from __future__ import annotations

import base64
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic_core import from_json

from llmlb.errors import LbError
from llmlb.http import holes as holes_module
from llmlb.http.anthropic.asking import read_messages
from llmlb.http.anthropic.request import parse_messages
from llmlb.http.holes import take_out
from llmlb.http.inference import forget
from llmlb.http.openai.request import parse_request
from llmlb.http.splicing import Spliced, edited
from llmlb.types import Api
from tests.fakes.upstream import make_endpoint
from tests.http.anthropic.requests import body, in_chat
from tests.http.holes import all_is_long

MIB = 1024 * 1024
LONG = "QUJ/" * 2000

WRITERS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "slashes": lambda text: text.replace("/", "\\/"),
    "pluses": lambda text: text.replace("+", "\\u002B").replace("=", "\\u003d"),
}


def message_with(source: dict[str, str], write: Callable[[str], str] = WRITERS["plain"]) -> bytes:
    blocks = [{"type": "image", "source": source}]
    return write(body(messages=[{"role": "user", "content": blocks}]).decode()).encode()


# -- what is taken out comes back


def test_a_long_image_arrives_whole_and_short_ones_are_never_taken_out() -> None:
    long, short = base64.b64encode(bytes(range(256)) * 64).decode(), "iVBORw0="
    blocks = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
        for data in (long, short, long)
    ]
    sent = body(messages=[{"role": "user", "content": blocks}])
    assert len(parse_messages(sent).holes.taken) == 2
    content = json.loads(in_chat(sent))["messages"][0]["content"]
    urls = [part["image_url"]["url"] for part in content]
    assert urls == [f"data:image/png;base64,{data}" for data in (long, short, long)]


@pytest.mark.parametrize("written", WRITERS)
def test_what_is_taken_out_comes_back_from_anywhere(written: str) -> None:
    long = base64.b64encode(bytes(range(255, 0, -1)) * 64 + b"1").decode()
    assert {"/", "+", "="} <= set(long)
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {"data": long}}
    sent = WRITERS[written](
        body(
            messages=[{"role": "assistant", "content": [call]}],
            tools=[{"name": "f", "input_schema": {"default": {"data": long}}}],
        ).decode()
    ).encode()
    assert len(take_out(sent)[1].taken) == 2

    chat = json.loads(in_chat(sent))

    arguments = chat["messages"][0]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"data": long}
    assert chat["tools"][0]["function"]["parameters"] == {"default": {"data": long}}


def test_options_that_are_sent_on_merged_have_nothing_missing() -> None:
    options = {"url": LONG}
    sent = json.dumps({"model": "m", "stream": True, "stream_options": options}).encode()
    [edit] = parse_request(Api.CHAT_COMPLETIONS, "/v1/x", sent).asking_for_usage
    assert json.loads(edit.text) == {**options, "include_usage": True}


@pytest.mark.parametrize(
    "member",
    [
        f'"url":"data:image/png;base64,{LONG}"',
        f'"url" : \n "DATA:image\\/png;name=a.png;Base64,{LONG}"',
        f'"image_url":"data:image/png;base64,{LONG}"',
        f'"file_data":"data:application/pdf;base64,{LONG}"',
        f'"data":"{LONG}"',
    ],
)
def test_every_member_that_holds_base64_is_taken_out(member: str) -> None:
    hollow, holes = take_out(f"{{{member}}}".encode())
    assert [bytes(view) for view in holes.taken] == [LONG.encode()]
    assert json.loads(hollow)


@pytest.mark.parametrize(
    "member",
    [
        f'"text":"{LONG}"',
        f'"url":"https://a.test/{LONG}"',
        f'"url":"data:image/png,{LONG}-"',
        f'"data":"{LONG}\\\\/"',
        f'"data":"{LONG}\\u0041"',
        f'"data":"{LONG} "',
        f'"data":"{LONG}',
    ],
)
def test_anything_else_stays_where_it_is(member: str) -> None:
    sent = f"{{{member}}}".encode()
    hollow, holes = take_out(sent)
    assert hollow is sent
    assert not holes.taken
    assert holes.fill(sent) is holes.fill_whole(sent) is sent


# -- the rest is judged as if nothing had been taken out

TOKENS = (
    '"', "\\", "\\/", "\\u002b", "\\u003D", "\\u002f", "\\u0022", "\\\\", '\\"', "AAAA", "AA==",
    "+/", "data:image\\/png;base64,", "data:image/png;base64,", '"data":"', '"url" : "', ",", ":",
    "{", "}", "[", "]", "1", "-", " ", "\n", "\t", "é", "\x00", "NaN", "null", '"model":"n"',
    '"model":1', "\ud800",
)  # fmt: skip

SEEDS = (
    '{"model":"m","messages":[{"url":"data:image\\/png;base64,AAAA\\/\\u002B=="},{"data":"BBBB"}]}',
    (
        '{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[{"type":"image",'
        '"source":{"type":"base64","media_type":"image/png","data":"AAAABBBB"}}]}]}'
    ),
    '{"data":"AAAA\\/","model":"m","stream":true,"stream_options":{"url":"CCCCDDDD"}}',
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A body with holes, in which a few things have been changed."""
    text = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        to = at + draw(st.sampled_from([0, 0, 1, 2, 6]))
        text = text[:at] + draw(st.sampled_from(TOKENS) | st.just("")) + text[to:]
    return text.encode("utf-8", "surrogatepass")


def verdict(read: Callable[[bytes], Any], sent: bytes) -> Any:
    try:
        return read(sent)
    except LbError as error:
        return type(error), error.message, error.param


def outcome_of_chat(sent: bytes) -> Any:
    request = parse_request(Api.CHAT_COMPLETIONS, "/v1/x", sent)
    # As it reads, for a slash that was written with an escape may be written without one.
    metered = json.loads(edited(sent, request.asking_for_usage))
    return request.model, request.stream, request.choices, metered


def outcome_of_messages(sent: bytes) -> Any:
    request = parse_messages(sent)
    return request.model, json.loads(request.holes.fill_whole(json.dumps(request.fields).encode()))


@given(bodies())
@example(b'{"model":"m","url":"AAAA"data":"BBBB"}')
@example(b'{"model":"m","x":"\\"url\\":\\"AAAABBBB\\""}')
def test_a_body_is_as_valid_as_without_its_holes(sent: bytes) -> None:
    def read(text: bytes) -> Any:
        try:
            return from_json(text, allow_inf_nan=False)
        except ValueError:
            return ValueError

    with all_is_long():
        hollow, holes = take_out(sent)
    assert holes.fill_whole(hollow) == sent
    assert (read(hollow) is ValueError) == (read(sent) is ValueError)
    if read(sent) is not ValueError:
        refilled = holes.fill_whole(json.dumps(read(hollow)).encode())
        assert json.loads(refilled) == read(sent)


@given(bodies(), st.sampled_from([outcome_of_chat, outcome_of_messages]))
@example(b'{"model":"m","stream":true,"stream_options":{"url":"\\/CCCCDDDD"}}', outcome_of_chat)
def test_every_refusal_is_the_same_with_holes_and_without(
    sent: bytes, read: Callable[[bytes], Any]
) -> None:
    with all_is_long() as patch:
        hollow = verdict(read, sent)
        patch.setattr(holes_module, "LONG_BYTES", 1_000_000)
        assert hollow == verdict(read, sent)


@given(st.lists(st.sampled_from(["QUJDREVG", "QUI=", "AB", "a b", "\\/+/+", "x"]), max_size=6))
def test_places_of_the_hollow_body_are_those_of_the_whole_one(values: list[str]) -> None:
    sent = b"{%b}" % b",".join(b'"data":"%b"' % value.encode() for value in values)
    with all_is_long():
        hollow, holes = take_out(sent)
    assert len(holes.taken) == sum(len(value) >= 4 and value != "a b" for value in values)
    for end, taken in zip(holes.mark_ends, holes.taken, strict=True):
        start = hollow.rindex(b"hole-", 0, end)
        assert sent[holes.whole_place(start) : holes.whole_place(end)] == taken
    for place, byte in enumerate(hollow):
        if byte in b'"{},':
            assert sent[holes.whole_place(place)] == byte


@given(st.text(), st.integers(4090, 4100), st.sampled_from(["data", "Data", '\\"data', "text"]))
def test_taking_out_and_filling_in_changes_nothing(before: str, length: int, name: str) -> None:
    sent = json.dumps({"before": before, name: "A" * length, "after": [before]}).encode()
    hollow, holes = take_out(sent)
    assert holes.fill(hollow) == sent
    assert json.loads(hollow)["after"] == [before]


# -- what it is for


@pytest.mark.parametrize("written", WRITERS)
@pytest.mark.parametrize(
    "source",
    [
        {"type": "base64", "media_type": "image/png", "data": ""},
        {"type": "url", "url": "data:image/png;base64,"},
    ],
)
async def test_an_image_of_10_mib_is_translated_without_a_copy(
    source: dict[str, str], written: str
) -> None:
    image = base64.b64encode(bytes(range(250)) * (10 * MIB // 250)).decode()
    last = list(source)[-1]
    sent = message_with({**source, last: source[last] + image}, WRITERS[written])
    tracemalloc.start()
    try:
        asked = read_messages(sent)
        call = asked.call_to(make_endpoint("http://e.test"), "another", "tiny", forget)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < MIB
    assert isinstance(call.body, Spliced)
    whole = b"".join([piece async for piece in call.body.chunks()])
    assert len(whole) == call.body.size_bytes
    chat = json.loads(whole)
    assert chat["model"] == "another"
    [part] = chat["messages"][0]["content"]
    assert part["image_url"]["url"] == f"data:image/png;base64,{image}"
