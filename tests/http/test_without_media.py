"""No media and no credential survives in what is kept of a body, and text does."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.http.without_media import MEDIA_RUN_CHARS, without_media

SURVIVES_CHARS = 16
"""So much of planted base64 in one piece would be too much."""


def standard(media: bytes) -> str:
    return base64.b64encode(media).decode()


def url_safe(media: bytes) -> str:
    return base64.urlsafe_b64encode(media).decode().rstrip("=")


def in_lines(media: bytes) -> str:
    return base64.encodebytes(media).decode()


Encoding = Callable[[bytes], str]
encodings = st.sampled_from([standard, url_safe])

# where media are, in the dialects that are spoken here; each takes the media in base64
PLACES: dict[str, Callable[[str], Any]] = {
    "chat image": lambda b64: {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64}"}},
                ],
            }
        ]
    },
    "chat audio": lambda b64: {
        "content": [{"type": "input_audio", "input_audio": {"format": "wav", "data": b64}}]
    },
    "chat file": lambda b64: {"type": "file", "file": {"filename": "a.pdf", "file_data": b64}},
    "chat answer with audio": lambda b64: {
        "choices": [{"message": {"audio": {"id": "x", "data": b64, "transcript": "Hello."}}}]
    },
    "responses image": lambda b64: {
        "input": [{"type": "input_image", "image_url": f"data:image/webp;charset=x;base64,{b64}"}]
    },
    "responses partial image": lambda b64: {
        "type": "response.image_generation_call.partial_image",
        "partial_image_b64": b64,
    },
    "images": lambda b64: {"created": 1, "data": [{"b64_json": b64}]},
    "speech event": lambda b64: {"type": "speech.audio.delta", "audio": b64},
    "responses speech event": lambda b64: {"type": "response.audio.delta", "delta": b64},
    "messages image": lambda b64: {
        "source": {"type": "base64", "media_type": "image/jpeg", "data": b64}
    },
    "tool call": lambda b64: {
        "function": {"arguments": json.dumps({"source": {"type": "base64", "data": b64}})}
    },
    "tool call within a tool call": lambda b64: {
        "arguments": json.dumps({"arguments": json.dumps({"url": f"DATA:image/gif;base64,{b64}"})})
    },
    "markdown": lambda b64: {"content": f"See ![it](data:image/png;base64,{b64}) and say."},
}

# how JSON may be written, all of which means the same
WRITINGS: dict[str, Callable[[Any], str]] = {
    "plain": json.dumps,
    "compact": lambda value: json.dumps(value, separators=(",", ":")),
    "wide": lambda value: json.dumps(value, indent=4, separators=(" ,", " : ")),
    "escaped slashes": lambda value: json.dumps(value).replace("/", "\\/"),
    "escaped signs": lambda value: re.sub(
        r"[+/=_-]", lambda sign: f"\\u{ord(sign[0]):04x}", json.dumps(value)
    ),
    "escaped names": lambda value: re.sub(
        r"(?<=\")(?=data|b64_json|file_data)[a-z]",
        lambda first: f"\\u{ord(first[0]):04X}",
        json.dumps(value),
    ),
    "events": lambda value: f"event: x\ndata: {json.dumps(value)}\n\ndata: [DONE]\n\n",
}


def assert_gone(b64: str, kept: str) -> None:
    plain = re.sub(r"\\u00([0-9a-fA-F]{2})", lambda code: chr(int(code[1], 16)), kept)
    plain = plain.replace("\\", "")
    pieces = re.findall(rf".{{{SURVIVES_CHARS}}}", b64) or [b64]
    assert not [piece for piece in pieces if piece in plain], kept
    assert "[redacted " in kept


@given(
    st.sampled_from(sorted(PLACES)),
    st.sampled_from(sorted(WRITINGS)),
    encodings,
    st.binary(min_size=12, max_size=400),
)
def test_no_planted_media_survives(
    place: str, writing: str, encoded: Encoding, media: bytes
) -> None:
    b64 = encoded(media)
    assert_gone(b64, without_media(WRITINGS[writing](PLACES[place](b64))))


_words = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters=" "), max_size=59),
    max_size=20,
).map(" ".join)


@given(
    st.sampled_from([standard, url_safe, in_lines]),
    st.binary(min_size=110, max_size=400),
    st.sampled_from(sorted(WRITINGS)),
    _words,
)
def test_what_is_long_goes_wherever_it_stands(
    encoded: Encoding, media: bytes, writing: str, around: str
) -> None:
    b64 = encoded(media)
    said = {"unheard_of": f"{around} {b64} {around}"}
    assert_gone(b64.replace("\n", " " * 999), without_media(WRITINGS[writing](said)))


@given(st.sampled_from(sorted(PLACES)), st.binary(min_size=200, max_size=300), st.integers(1, 1000))
def test_what_is_cut_off_anywhere_leaves_none_of_it(place: str, media: bytes, end: int) -> None:
    b64 = standard(media)
    kept = without_media(json.dumps(PLACES[place](b64))[:end], whole=False)
    assert not [piece for piece in re.findall(r".{8}", b64) if piece in kept]


def looks_like_media(text: str) -> bool:
    return bool(re.search(r"(?i)data:|sk[-_]|bearer|://[^/\s]*@", text))


@given(_words)
def test_ordinary_text_is_not_touched(text: str) -> None:
    if looks_like_media(text):
        return
    said = {"messages": [{"role": "user", "content": text}], "model": "a/b:c-d_e", "stream": True}
    for written in (json.dumps(said), json.dumps(said, ensure_ascii=False)):
        assert json.loads(without_media(written)) == said
    assert json.loads(without_media(json.dumps(said).replace("/", "\\/"))) == said


@pytest.mark.parametrize(
    "text",
    [
        "-" * 500 + "\n" + "=" * 200,
        "a " * 1000,
        "https://example.org/a/long/way?and=what&it=asks#for",
        "\n".join(["word"] * 300),
        "C:\\Users\\me\\new\\table",
        "data: [DONE]",
        '{"data": [1.5, 2.5], "delta": "Hello there", "result": "ok"}',
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822c" * 2,
        "一文字も区切りのない長い文章です。" * 20,
        json.dumps({"arguments": json.dumps({"say": "句読点のない長い文章" * 20})}),
    ],
)
def test_what_looks_odd_and_is_no_media_stays(text: str) -> None:
    assert without_media(text) == text or text.startswith("{")
    assert json.loads(without_media(json.dumps(text))) == text


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"api_key": "abc def"}, {"api_key": "***"}),
        ({"headers": {"Authorization": "Bearer x"}}, {"headers": {"Authorization": "***"}}),
        ({"arguments": '{"password": "a\\nb"}'}, {"arguments": '{"password": "***"}'}),
        ({"password": 'a"b\\', "b": "c"}, {"password": "***", "b": "c"}),
        ({"token": '"token": "x"', "b": '"token": "x"'}, {"token": "***", "b": '"token": "***"'}),
        ({"password": "", "b": 'c"'}, {"password": "", "b": 'c"'}),
        ({"say": "use sk-abcdefghijklmnop1234."}, {"say": "use ***."}),
        ({"say": "curl -H 'Authorization: Bearer abcdefghijklmnop'"}, None),
        ({"url": "http://me:secret@host/x"}, {"url": "http://***@host/x"}),
    ],
)
def test_credentials_are_hidden(said: Any, kept: Any) -> None:
    found = json.loads(without_media(json.dumps(said)))
    assert found == (kept or {"say": "curl -H 'Authorization: ***'"})


@given(_words, st.integers(0, 3))
def test_no_quote_within_a_secret_brings_its_rest_to_light(secret: str, depth: int) -> None:
    kept, said = {"b": {"api_key": "***"}, "c": "d"}, {"b": {"api_key": secret}, "c": "d"}
    for _ in range(depth):
        kept, said = {"a": json.dumps(kept)}, {"a": json.dumps(said)}
    assert json.loads(without_media(json.dumps(said))) == (kept if secret else said)


@pytest.mark.parametrize(
    "piece",
    ["\\", '"', '\\"data', "data:", "\\/", "\\n", "aaaa\\n", "data:a/a;a", "://", "sk_", "A",
     '"a":"', '"token":"', '\\"token\\":\\"', "\\u0041", "x" * 59 + " ", "-", "%2B"],
)  # fmt: skip
@pytest.mark.adversary
def test_the_time_is_linear_in_the_text(piece: str) -> None:
    """Told by steps of the regex engine: what takes a second for 100 KB is not linear."""
    import time

    began_s = time.perf_counter()
    without_media(piece * (100_000 // len(piece)), whole=False)
    assert time.perf_counter() - began_s < 1


def test_a_marker_tells_how_much_there_was() -> None:
    b64 = standard(b"x" * 75)
    assert len(b64) == MEDIA_RUN_CHARS
    assert without_media(f"{b64}.") == "[redacted base64 len=100]."
    assert without_media(f"{b64[1:]}.") == f"{b64[1:]}."
    assert without_media("data:image/png;base64,AAAA") == "[redacted data-url len=4]"
