"""Which images may pass."""

from __future__ import annotations

import base64
import json
import re
from itertools import cycle, pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmlb.errors import InvalidRequest
from llmlb.http.vision.checking import check_images, decoded_size
from llmlb.http.vision.finding import find_images
from llmlb.http.vision.part import ImagePart
from tests.fakes.images import PNG_100X100_BASE64, PNG_100X100_DATA_URL

MIB = 1024 * 1024


def parts_of(*urls: str) -> list[ImagePart]:
    content = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return find_images(json.dumps({"messages": [{"content": content}]}).encode())


def anthropic(source: dict[str, Any]) -> list[ImagePart]:
    content = [{"type": "image", "source": {"type": "base64", **source}}]
    return find_images(json.dumps({"messages": [{"content": content}]}).encode())


def refusal(parts: list[ImagePart], **limits: int) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        check_images(parts, **limits)
    error = caught.value
    assert (error.http_status(), error.error_type()) == (400, "invalid_request_error")
    assert error.param
    assert error.message.isprintable()
    return error


@pytest.mark.parametrize("kind", ["jpeg", "jpg", "png", "gif", "webp", "PNG"])
def test_the_supported_formats_pass(kind: str) -> None:
    check_images(parts_of(f"data:image/{kind};base64,{PNG_100X100_BASE64}"))
    check_images(anthropic({"media_type": f"image/{kind}", "data": PNG_100X100_BASE64}))


@pytest.mark.parametrize("url", ["https://a.test/x.png", "HTTP://a.test", PNG_100X100_DATA_URL])
def test_urls_that_pass(url: str) -> None:
    check_images(parts_of(url))


def test_parameters_of_a_data_url_are_no_obstacle() -> None:
    check_images(parts_of("DATA:image/png;name=a.png;BASE64,AAAA"))


def test_ten_images_pass_and_eleven_do_not() -> None:
    check_images(parts_of(*["https://a.test/x"] * 10))
    error = refusal(parts_of(*["https://a.test/x"] * 11))
    assert "limit is 10" in error.message
    assert error.error_code() == "too_many_images"
    assert error.param == "messages[0].content[10].image_url"


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("data:image/tiff;base64,AAAA", "image/tiff"),
        ("data:image/svg+xml,<svg/>", "image/svg+xml"),
        ("data:;base64,AAAA", "none given"),
        ("data:image/\x00\u202e;base64,AAAA", "image/??"),
    ],
)
def test_other_formats_are_named_and_refused(url: str, named: str) -> None:
    error = refusal(parts_of(url))
    assert named in error.message
    assert error.error_code() == "unsupported_image_media_type"


def test_anthropic_blocks_have_their_format_beside_the_bytes() -> None:
    assert "image/bmp" in refusal(anthropic({"media_type": "image/bmp", "data": "AAAA"})).message
    assert "none given" in refusal(anthropic({"data": "AAAA"})).message
    assert "base64" in refusal(anthropic({"media_type": "image/png", "data": ""})).message


@pytest.mark.parametrize(
    "payload",
    ["", "=", "====", "A", "AA", "AAA", "AAAAA", "AA=", "A===", "AAAA====", "AA==AA==", "AAA=A",
     "AA-_", "AA\nAA", "AA AA", "AAAA\n", "AAA\\", "AAAé", "%41%41AA"],
)  # fmt: skip
def test_invalid_base64_is_named(payload: str) -> None:
    error = refusal(parts_of(f"data:image/png;base64,{payload}"))
    assert "base64" in error.message
    assert error.error_code() == "invalid_base64_image"


def test_a_data_url_that_is_not_base64_is_refused() -> None:
    assert "base64" in refusal(parts_of("data:image/png,AAAA")).message


@pytest.mark.parametrize("url", ["data:", "data:image/png;base64" + "A" * 300, "file:///etc/passwd",
                                 "", "AAAA", "ftp://a.test/x.png", "//a.test/x"])  # fmt: skip
def test_what_is_neither_http_nor_a_data_url_is_refused(url: str) -> None:
    assert refusal(parts_of(url)).error_code() == "invalid_image_url"


def test_an_image_of_15_mib_is_refused_by_its_size() -> None:
    large = base64.b64encode(bytes(15 * MIB)).decode()
    error = refusal(parts_of(f"data:image/png;base64,{large}"))
    assert "15 MiB, at most 10 MiB" in error.message
    assert error.error_code() == "image_too_large"


def test_the_size_limit_is_exact() -> None:
    for size, fits in ((99, True), (100, True), (101, False)):
        url = f"data:image/png;base64,{base64.b64encode(bytes(size)).decode()}"
        if fits:
            check_images(parts_of(url), max_bytes=100)
        else:
            assert "101 bytes, at most 100 bytes" in refusal(parts_of(url), max_bytes=100).message


@given(st.binary(min_size=1, max_size=200), st.lists(st.integers(0, 300), max_size=4))
def test_the_size_is_that_of_the_decoded_bytes_however_it_is_cut(
    content: bytes, cuts: list[int]
) -> None:
    encoded = base64.b64encode(content)
    edges = [0, *sorted(cuts), len(encoded) + 300]
    pieces = [encoded[a:b] for a, b in pairwise(edges)]
    assert decoded_size(pieces) == len(content)


@given(st.text(alphabet="AZaz09+/=-_ \n", max_size=16), st.integers(0, 16))
def test_it_is_as_strict_as_the_grammar(text: str, cut: int) -> None:
    grammar = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
    size = decoded_size([text[:cut].encode(), text[cut:].encode()])
    if text and re.fullmatch(grammar, text):
        assert size == len(base64.b64decode(text))
    else:
        assert size is None


@example(text="=", repeated=1, escapes=["{0}"])
@settings(deadline=None, max_examples=60)
@given(
    text=st.one_of(
        st.binary(min_size=1, max_size=40).map(lambda content: base64.b64encode(content).decode()),
        st.text(alphabet="AZaz09+/=-_ \n", max_size=12),
    ),
    repeated=st.sampled_from([1, 2, 17_000]),
    escapes=st.lists(st.sampled_from(["{0}", "\\u{1:04x}", "\\u{1:04X}", "\\/"]), min_size=1),
)
def test_it_judges_base64_as_a_parser_and_a_decoder_would(
    text: str, repeated: int, escapes: list[str]
) -> None:
    """However it is escaped, and wherever the pieces in which it is read begin and end."""
    whole = text * repeated if "=" not in text else "AAA/" * repeated + text
    escaped = "".join(
        ("\\/" if c == "/" else json.dumps(c)[1:-1]) if how == "\\/" else how.format(c, ord(c))
        for c, how in zip(whole, cycle(escapes), strict=False)
    ).replace("\n", "\\n")
    body = f'{{"input":[{{"type":"input_image","image_url":"data:image/png;base64,{escaped}"}}]}}'
    [said] = json.loads(body)["input"]
    assert said["image_url"] == f"data:image/png;base64,{whole}"
    try:
        decoded = base64.b64decode(whole, validate=True)
    except ValueError:
        decoded = b""
    if len(whole) % 4 or whole.endswith("==="):
        decoded = b""  # of too much padding Python's decoder thinks nothing

    parts = find_images(body.encode())

    if decoded:
        check_images(parts, max_bytes=len(decoded))
        assert refusal(parts, max_bytes=len(decoded) - 1).error_code() == "image_too_large"
    else:
        assert refusal(parts).error_code() == "invalid_base64_image"
