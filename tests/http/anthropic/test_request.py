"""parse_messages: what a request must hold, and which error says that it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.errors import InvalidJson, InvalidRequest, LbError, MissingField
from llmlb.http.anthropic.chat import to_chat
from llmlb.http.anthropic.request import parse_messages
from tests.http.anthropic.requests import ASKED, body, jsons, leaves


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in ASKED.items() if key != name}).encode()


def test_what_routes_a_request_is_read_and_its_bytes_are_kept() -> None:
    sent = body(stream=True, thinking={"type": "enabled", "budget_tokens": 1024})
    request = parse_messages(sent)
    assert (request.model, request.stream) == ("tiny", True)
    assert request.body is sent
    assert request.wants_thinking
    plain = parse_messages(body(thinking={"type": "disabled"}))
    assert not plain.stream
    assert not plain.wants_thinking


@pytest.mark.parametrize("name", ["model", "max_tokens", "messages"])
def test_a_missing_field_is_named(name: str) -> None:
    with pytest.raises(MissingField) as caught:
        parse_messages(without(name))
    assert caught.value.param == name


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"model": 1}, "model"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 2**31}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": ["Hi"]}, "messages.0"),
        ({"messages": [{"content": "Hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "tool", "content": "Hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": {}}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": ["Hi"]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages.0.content.0.type"),
        ({"system": 1}, "system"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": False}, "top_p"),
        ({"top_k": 0.5}, "top_k"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"stop_sequences": ["END", 1]}, "stop_sequences.1"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"user_id": 7}}, "metadata.user_id"),
        ({"tools": {}}, "tools"),
        ({"tools": ["x"]}, "tools.0"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {"name": "f"}}, "tool_choice.type"),
        ({"thinking": {"budget_tokens": 9}}, "thinking.type"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_messages(body(**fields))
    assert caught.value.param == param
    assert param in str(caught.value)


@pytest.mark.parametrize(
    "sent", [b"", b"{", b"[]", b'"x"', b"\xff", b'{"model": NaN}', b"[" * 5000, b"\xef\xbb\xbf{}"]
)
def test_what_is_no_json_object_is_invalid_json(sent: bytes) -> None:
    with pytest.raises(InvalidJson):
        parse_messages(sent)


def test_fields_and_blocks_that_nobody_knows_are_the_endpoints() -> None:
    said = [{"type": "hologram", "data": 1}]
    sent = body(
        messages=[{"role": "user", "content": said}],
        tools=[{"type": "web_search_20250305", "name": "web_search"}],
        mystery={"of": "tomorrow"},
    )
    assert parse_messages(sent).body is sent


# -- whatever comes, only an LbError goes

blocks = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["text", "image", "tool_use", "tool_result", "thinking", "document", "search_result"]
        )
    },
    optional={
        "text": leaves,
        "source": jsons,
        "id": leaves,
        "name": leaves,
        "input": jsons,
        "tool_use_id": leaves,
        "content": jsons,
        "is_error": leaves,
        "title": leaves,
    },
)
messages = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system"]),
        "content": st.text(max_size=5) | st.lists(blocks, max_size=3),
    }
)
likely = st.fixed_dictionaries(
    {"model": st.just("m"), "max_tokens": st.just(5), "messages": st.lists(messages, max_size=3)},
    optional={
        "system": jsons,
        "stream": st.booleans(),
        "tools": st.lists(jsons, max_size=2),
        "tool_choice": jsons,
        "metadata": jsons,
        "stop_sequences": jsons,
        "temperature": leaves,
        "output_config": jsons,
        "thinking": jsons,
    },
)


@given(likely | jsons | st.dictionaries(st.sampled_from([*ASKED, "tools", "system"]), jsons))
def test_any_json_is_a_request_or_one_of_our_errors(said: Any) -> None:
    sent = json.dumps(said).encode()
    try:
        chat = to_chat(parse_messages(sent))
    except InvalidRequest:
        return
    assert json.loads(chat.body)["model"]
    assert all(note.isascii() for note in chat.notes)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_request_or_one_of_our_errors(sent: bytes) -> None:
    with pytest.raises(LbError):
        parse_messages(sent)
