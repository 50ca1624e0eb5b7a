"""The rules of images, in every form that an image can have in a request."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from llmlb.errors import InvalidRequest
from llmlb.http.vision.checking import FORMATS, MAX_IMAGE_BYTES, MAX_IMAGES, check_images
from llmlb.http.vision.finding import find_images
from tests.fakes.images import GIF_BASE64, JPEG_BASE64, PNG_100X100_BASE64, WEBP_BASE64
from tests.http.anthropic.requests import in_chat

Make = Callable[[str, str], dict[str, Any]]
"""A part from a media type and base64."""


def _url(media_type: str, encoded: str) -> str:
    return f"data:{media_type};base64,{encoded}"


def _block(media_type: str, encoded: str) -> dict[str, Any]:
    source = {"type": "base64", "media_type": media_type, "data": encoded}
    return {"type": "image", "source": source}


def _in_content(root: str, *parts: Any) -> dict[str, Any]:
    return {root: [{"role": "user", "content": [{"type": "text", "text": "?"}, *parts]}]}


def _in_a_result(root: str, *parts: Any) -> dict[str, Any]:
    return _in_content(root, {"type": "tool_result", "tool_use_id": "t", "content": list(parts)})


FORMS: dict[str, tuple[str, Callable[..., dict[str, Any]], Make, str]] = {
    "chat": (
        "messages",
        _in_content,
        lambda kind, data: {"type": "image_url", "image_url": {"url": _url(kind, data)}},
        "messages[0].content[{}].image_url",
    ),
    "chat, a bare string": (
        "messages",
        _in_content,
        lambda kind, data: {"type": "image_url", "image_url": _url(kind, data)},
        "messages[0].content[{}].image_url",
    ),
    "responses": (
        "input",
        _in_content,
        lambda kind, data: {"type": "input_image", "image_url": _url(kind, data)},
        "input[0].content[{}].image_url",
    ),
    "messages": ("messages", _in_content, _block, "messages[0].content[{}].source"),
    "messages, a data URL": (
        "messages",
        _in_content,
        lambda kind, data: {"type": "image", "source": {"type": "url", "url": _url(kind, data)}},
        "messages[0].content[{}].source",
    ),
    "messages, a tool's result": (
        "messages",
        _in_a_result,
        _block,
        "messages[0].content[1].content[{}].source",
    ),
}

forms = pytest.mark.parametrize("form", FORMS)


def body_of(form: str, *images: tuple[str, str]) -> bytes:
    root, frame, make, _ = FORMS[form]
    return json.dumps(frame(root, *(make(*image) for image in images))).encode()


def check(body: bytes, **limits: int) -> None:
    check_images(find_images(body), **limits)


def refusal(body: bytes, **limits: int) -> tuple[str, str]:
    """The code and the place."""
    with pytest.raises(InvalidRequest) as caught:
        check(body, **limits)
    assert caught.value.http_status() == 400
    assert caught.value.error_code() is not None
    return str(caught.value.error_code()), str(caught.value.param)


def place(form: str, position: int) -> str:
    """Of the image that is so many images after the first."""
    first = 0 if "result" in form else 1
    return FORMS[form][3].format(first + position)


@forms
@pytest.mark.parametrize("media_type", sorted(FORMATS))
def test_a_known_format_passes(form: str, media_type: str) -> None:
    body = body_of(form, (media_type, PNG_100X100_BASE64))
    assert len(find_images(body)) == 1
    check(body)


@forms
@pytest.mark.parametrize("media_type", ["image/tiff", "image/svg+xml", "image/bmp", "text/html"])
def test_an_unknown_one_does_not(form: str, media_type: str) -> None:
    body = body_of(form, ("image/png", PNG_100X100_BASE64), (media_type, PNG_100X100_BASE64))
    assert refusal(body) == ("unsupported_image_media_type", place(form, 1))


@forms
def test_ten_pass_and_eleven_do_not(form: str) -> None:
    image = ("image/png", PNG_100X100_BASE64)
    check(body_of(form, *[image] * MAX_IMAGES))
    eleven = body_of(form, *[image] * (MAX_IMAGES + 1))
    assert refusal(eleven) == ("too_many_images", place(form, MAX_IMAGES))


@forms
def test_the_size_counts_as_decoded_and_is_exact(form: str) -> None:
    for size_bytes, fits in ((99, True), (100, True), (101, False)):
        body = body_of(form, ("image/png", base64.b64encode(bytes(size_bytes)).decode()))
        if fits:
            check(body, max_bytes=100)
        else:
            assert refusal(body, max_bytes=100) == ("image_too_large", place(form, 0))


@forms
def test_one_of_10_mib_passes_and_one_byte_more_does_not(form: str) -> None:
    encoded = base64.b64encode(bytes(MAX_IMAGE_BYTES)).decode()
    check(body_of(form, ("image/png", encoded)))
    encoded = base64.b64encode(bytes(MAX_IMAGE_BYTES + 1)).decode()
    assert refusal(body_of(form, ("image/png", encoded))) == ("image_too_large", place(form, 0))


@forms
@pytest.mark.parametrize("encoded", ["", "A", "AA=", "AA-_", "AA AA", "AA\nAA", "<svg/>", "AAAé"])
def test_what_is_no_base64_does_not_pass(form: str, encoded: str) -> None:
    assert refusal(body_of(form, ("image/png", encoded))) == (
        "invalid_base64_image",
        place(form, 0),
    )


@forms
@pytest.mark.parametrize("encoded", [GIF_BASE64, WEBP_BASE64, JPEG_BASE64, "AAAA"])
def test_bytes_that_contradict_their_format_are_the_endpoints_to_judge(
    form: str, encoded: str
) -> None:
    check(body_of(form, ("image/png", encoded)))


@pytest.mark.parametrize("form", [form for form in FORMS if form.startswith("messages")])
def test_the_rules_hold_for_a_message_that_was_translated_as_well(form: str) -> None:
    def translated(*images: tuple[str, str]) -> bytes:
        fields = json.loads(body_of(form, *images))
        call = {"type": "tool_use", "id": "t", "name": "look", "input": {}}
        fields["messages"].insert(0, {"role": "assistant", "content": [call]})
        sent = {"model": "m", "max_tokens": 9, **fields}
        return in_chat(json.dumps(sent).encode())

    image = ("image/png", PNG_100X100_BASE64)
    check(translated(*[image] * MAX_IMAGES))
    assert refusal(translated(*[image] * (MAX_IMAGES + 1)))[0] == "too_many_images"
    assert refusal(translated(("image/png", "AA-_")))[0] == "invalid_base64_image"
    assert refusal(translated(("image/png", "A" * 4097)))[0] == "invalid_base64_image"
    assert refusal(translated(("image/bmp", "AAAA")))[0] == "unsupported_image_media_type"
    large = base64.b64encode(bytes(MAX_IMAGE_BYTES + 1)).decode()
    assert refusal(translated(("image/png", large)))[0] == "image_too_large"
