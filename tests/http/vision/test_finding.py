"""Where images stand in a body, whatever the body is."""

from __future__ import annotations

import base64
import contextlib
import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlb.errors import InvalidRequest
from llmlb.http.members import MAX_TOKENS
from llmlb.http.vision.checking import check_images
from llmlb.http.vision.finding import find_images
from llmlb.http.vision.part import ImagePart
from tests.http.holes import all_is_long

URL = "https://example.org/a.png"
DATA = "data:image/png;base64,AAAA"


def text_of(part: ImagePart) -> str:
    return b"".join(part.pieces()).decode("utf-8", "surrogatepass")


def found(body: object) -> list[tuple[str, str]]:
    parts = find_images(json.dumps(body).encode())
    return [(part.param, text_of(part)) for part in parts]


def chat(*content: object) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": list(content)}]}


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


def test_chat_parts_with_an_object_and_with_a_bare_string() -> None:
    body = chat(
        {"type": "text", "text": "what?"}, image(URL), {"image_url": DATA, "type": "image_url"}
    )
    assert found(body) == [
        ("messages[0].content[1].image_url", URL),
        ("messages[0].content[2].image_url", DATA),
    ]


def test_a_chat_part_without_a_type_is_read_as_vllm_reads_it() -> None:
    assert found(chat({"image_url": {"url": URL}}, {"image_url": DATA})) == [
        ("messages[0].content[0].image_url", URL),
        ("messages[0].content[1].image_url", DATA),
    ]


def test_responses_input() -> None:
    body = {
        "model": "m",
        "input": [
            {"role": "user", "content": [{"type": "input_image", "image_url": URL}]},
            {
                "type": "function_call_output",
                "call_id": "c",
                "output": [{"type": "input_image", "image_url": DATA}],
            },
            {"type": "input_image", "image_url": DATA},
            {"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]},
        ],
    }
    assert found(body) == [
        ("input[0].content[0].image_url", URL),
        ("input[1].output[0].image_url", DATA),
        ("input[2].image_url", DATA),
    ]


def test_anthropic_blocks_also_inside_tool_results() -> None:
    embedded = {"type": "base64", "media_type": "image/webp", "data": "AAAA"}
    body = chat(
        {"type": "image", "source": embedded},
        {"type": "image", "source": {"type": "url", "url": URL}},
        {"type": "tool_result", "content": [{"type": "image", "source": embedded}]},
        {"type": "image", "source": "nothing"},
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
    )
    parts = find_images(json.dumps(body).encode())
    assert [(p.param, text_of(p), p.media_type) for p in parts] == [
        ("messages[0].content[0].source", "AAAA", "image/webp"),
        ("messages[0].content[1].source", URL, None),
        ("messages[0].content[2].content[0].source", "AAAA", "image/webp"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m", "messages": [{"role": "user", "content": "an image_url"}]},
        {"model": "m", "tools": [{"content": [image(URL)]}]},
        {"model": "m", "messages": [], "x": {"messages": [{"content": [image(URL)]}]}},
        chat({"type": "text", "text": json.dumps(image(URL))}),
        chat({"type": "tool_use", "input": {"content": [image(URL)]}}),
        chat({"type": "image_url"}, {"type": "image_url", "image_url": {}}),
        chat({"type": "image_url", "image_url": 5}, {"image_url": 5}, {"url": URL}),
        chat({"type": "text", "image_url": {"url": URL}}),
        chat({"type": {"type": "image_url"}, "image_url": {"url": URL}}),
        {"messages": [image(URL)]},
        {"messages": [{"content": image(URL)}]},
        [image(URL)],
        [[image(URL)]],
        "image_url",
    ],
)
def test_what_only_looks_like_an_image_is_none(body: object) -> None:
    assert found(body) == []


@pytest.mark.parametrize("kind", [rb"im\x", b"image_url" + b" " * 300, rb"im\ud800age"])
def test_a_type_that_cannot_be_read_is_none(kind: bytes) -> None:
    body = json.dumps(chat({"type": "T", "image_url": URL})).encode()
    assert find_images(body.replace(b"T", kind)) == []


def test_indexes_count_elements_of_every_kind() -> None:
    body = {"messages": [1, None, "a,b", [2, 3], {"content": ["x", 7, image(URL)]}]}
    assert found(body) == [("messages[4].content[2].image_url", URL)]


def test_escapes_are_read_in_keys_types_and_urls() -> None:
    body = (
        rb'{"mess\u0061ges":[{"content":[{"type":"im\u0061ge_url",'
        rb'"image\u005furl":{"url":"data:image\/png;base64,\u0041A\u003d="}}]}]}'
    )
    (part,) = find_images(body)
    assert text_of(part) == "data:image/png;base64,AA=="
    check_images([part])


def test_a_url_of_nothing_but_escapes_is_read_in_pieces() -> None:
    text = "data:image/png;base64," + "/+Az" * 40_000
    body = json.dumps(chat(image("X"))).encode()
    escaped = "".join(f"\\u{ord(c):04x}" if c != "/" else "\\/" for c in text).encode()
    (part,) = find_images(body.replace(b"X", escaped))
    assert text_of(part) == text
    assert max(map(len, part.pieces())) <= 64 * 1024
    check_images([part])


@pytest.mark.parametrize("broken", [rb"data:image/png;base64,AA\x41", rb"data:\u12", rb"\u00"])
def test_an_escape_that_is_none_is_kept_as_it_is_and_refused(broken: bytes) -> None:
    body = json.dumps(chat(image("X"))).encode().replace(b"X", broken)
    parts = find_images(body)
    with pytest.raises(InvalidRequest):
        check_images(parts)


def test_of_a_member_that_comes_twice_the_last_counts() -> None:
    body = b'{"messages":[{"content":[{"type":"image_url","image_url":"a","image_url":"b"}]}]}'
    assert [text_of(part) for part in find_images(body)] == ["b"]


def test_too_deep_a_body_is_left_to_the_parser() -> None:
    assert find_images(b'{"messages":' + b"[" * 100_000 + b'"image"') == []


def test_a_body_of_too_many_values_is_refused_soon() -> None:
    body = b'{"messages":["image"' + b",[]" * MAX_TOKENS + b"]}"
    started = time.perf_counter()
    with pytest.raises(InvalidRequest, match="1,000,000 values"):
        find_images(body)
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize(
    "body",
    [
        b'"image' + b"a" * 5_000_000,
        b'{"messages": "image' + rb"\"" * 2_000_000,
        b'{"image":' + b" " * 5_000_000,
        b'{"image":' + b"\\" * 5_000_000,
    ],
)
def test_a_body_that_is_cut_is_read_once_and_not_over_and_over(body: bytes) -> None:
    started = time.perf_counter()
    assert find_images(body) == []
    assert time.perf_counter() - started < 2


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["image_url", "input_image", "image", "base64", "url", URL, DATA]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=4)
            | st.sampled_from(
                [
                    "messages",
                    "input",
                    "content",
                    "output",
                    "type",
                    "image_url",
                    "url",
                    "source",
                    "data",
                    "media_type",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=40,
)

_part: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    type=st.sampled_from(["image_url", "input_image", "image", "text"]) | _json,
    image_url=st.sampled_from([URL, DATA]) | st.builds(dict, url=st.text(max_size=9) | _json),
    source=_json,
)


def by_the_book(body: object) -> list[tuple[str, str]]:
    """The same of chat parts, read from a whole tree."""
    result = []
    messages = body.get("messages") if isinstance(body, dict) else None
    for i, message in enumerate(messages if isinstance(messages, list) else []):
        content = message.get("content") if isinstance(message, dict) else None
        for j, part in enumerate(content if isinstance(content, list) else []):
            if not isinstance(part, dict) or part.get("type") not in ("image_url", "input_image"):
                continue
            url = part.get("image_url")
            url = url.get("url") if isinstance(url, dict) else url
            if isinstance(url, str):
                result.append((f"messages[{i}].content[{j}].image_url", url))
    return result


_flat = st.none() | st.integers() | st.text(max_size=9) | st.sampled_from([DATA, "QUJDREVG"])


@given(
    st.lists(
        st.builds(
            dict,
            role=_flat,
            content=st.lists(
                st.builds(
                    dict,
                    type=st.sampled_from(["image_url", "input_image", "text"]),
                    image_url=_flat | st.builds(dict, detail=_flat, url=_flat),
                    more=st.lists(_flat, max_size=2),
                )
                | _flat
                | st.lists(_flat, max_size=3),
                max_size=4,
            )
            | _flat,
        )
        | _flat,
        max_size=4,
    ),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.booleans(),
)
def test_it_finds_what_a_parser_would_find(
    messages: list[Any], indent: int | None, ascii_only: bool, hollow: bool
) -> None:
    body = {"model": "m", "messages": messages, "n": 1}
    raw = json.dumps(body, indent=indent, ensure_ascii=ascii_only)
    with all_is_long() if hollow else contextlib.nullcontext():
        parts = find_images(raw.encode("utf-8", "surrogatepass"))
    assert [(p.param, text_of(p)) for p in parts] == by_the_book(body)


@given(st.builds(dict, messages=st.lists(st.builds(dict, content=st.lists(_part, max_size=3)))))
def test_hostile_parts_bring_out_nothing_but_our_errors(body: dict[str, Any]) -> None:
    for part in find_images(json.dumps(body).encode()):
        with contextlib.suppress(InvalidRequest):
            check_images([part])


@settings(max_examples=300)
@given(
    st.binary(max_size=60),
    st.lists(
        st.sampled_from(
            [
                b'{"messages":[{"content":[',
                b'{"type":"image_url",',
                b'"image_url":',
                b'{"url":"',
                b"data:image/png;base64,",
                b"AAAA",
                b'"',
                b"}",
                b"]",
                b"[",
                b"{",
                b",",
                b":",
                b"\\",
                b"\\u00",
                b"image",
                b"\xff",
                b"\x00",
                b'"source":{"type":"base64","data":"',
            ]
        ),
        max_size=30,
    ),
)
def test_bytes_that_are_no_json_do_no_harm(noise: bytes, tokens: list[bytes]) -> None:
    for body in (b"image" + noise, b"".join(tokens) + noise, noise + b"".join(tokens)):
        parts = find_images(body)
        for part in parts:
            assert 0 <= part.start <= part.end <= len(body)
            with contextlib.suppress(InvalidRequest):
                check_images([part])


def test_a_large_image_is_found_and_checked_without_a_copy() -> None:
    encoded = base64.b64encode(bytes(10 * 1024 * 1024)).decode()
    body = json.dumps(chat(image(f"data:image/png;base64,{encoded}"))).encode()
    del encoded
    tracemalloc.start()
    try:
        parts = find_images(body)
        check_images(parts)
        _, highest = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(parts) == 1
    # The body itself is 1.33 times the image; what comes on top is pieces of 64 KiB.
    assert highest < 1024 * 1024
