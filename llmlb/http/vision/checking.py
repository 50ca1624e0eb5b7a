"""Which images may pass: at most so many, in known formats, in honest base64, and not too large."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from llmlb.errors import InvalidRequest
from llmlb.http.vision.part import ImagePart

MIB = 1024 * 1024
MAX_IMAGES = 10
MAX_IMAGE_BYTES = 10 * MIB

FORMATS = frozenset({"image/jpeg", "image/jpg", "image/png", "image/gif", "image/webp"})

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
"""The one of RFC 4648 §4. Neither white space nor the URL-safe variant: decoders differ on them."""

_HEADER_BYTES = 256
_HEADER = re.compile(rb"data:([^;,]*)((?:;[^;,]*)*),", re.IGNORECASE)


class TooManyImages(InvalidRequest):
    """The request holds more images than are taken."""

    _code = "too_many_images"


class UnsupportedImageFormat(InvalidRequest):
    """An image is none of JPEG, PNG, GIF and WebP."""

    _code = "unsupported_image_media_type"


class InvalidBase64Image(InvalidRequest):
    """The base64 of an image cannot be read."""

    _code = "invalid_base64_image"


class ImageTooLarge(InvalidRequest):
    """An image is larger than is taken."""

    _code = "image_too_large"


class InvalidImageUrl(InvalidRequest):
    """The URL of an image is of a kind that is not taken."""

    _code = "invalid_image_url"


def check_images(
    parts: Sequence[ImagePart],
    *,
    max_images: int = MAX_IMAGES,
    max_bytes: int = MAX_IMAGE_BYTES,
) -> None:
    """Raise the InvalidRequest that *parts* deserve, if any; its `param` names the image.

    Remote images are only counted: what they hold, nobody here has seen.
    """
    if len(parts) > max_images:
        raise TooManyImages(
            f"Too many images: {len(parts)} (the limit is {max_images}).",
            param=parts[max_images].param,
        )
    for part in parts:
        if part.is_embedded:
            _check_embedded(part, max_bytes)
        elif not part.is_remote:
            raise InvalidImageUrl(
                "An image must be an http(s) URL or a data URL with base64.", param=part.param
            )


def _check_format(media_type: str, param: str) -> None:
    """Raise UnsupportedImageFormat unless *media_type* is one of FORMATS."""
    if media_type.lower() not in FORMATS:
        shown = "".join(c if c.isprintable() else "?" for c in media_type[:80]) or "none given"
        raise UnsupportedImageFormat(
            f"Unsupported image format: {shown} (supported are jpeg, png, gif and webp).",
            param=param,
        )


def _check_size(size_bytes: int, max_bytes: int, param: str) -> None:
    """Raise ImageTooLarge if *size_bytes* are too many."""
    if size_bytes > max_bytes:
        raise ImageTooLarge(
            f"Image size exceeds limit ({_size(size_bytes)}, at most {_size(max_bytes)}).",
            param=param,
        )


def _check_embedded(part: ImagePart, max_bytes: int) -> None:
    pieces = part.pieces()
    media_type = part.media_type
    if media_type is None:
        first = next(pieces)
        header = _HEADER.match(first[:_HEADER_BYTES])
        if header is None:
            raise InvalidImageUrl("An image's data URL has no comma.", param=part.param)
        media_type = header[1].decode("utf-8", "replace")
        if not header[2].lower().endswith(b";base64"):
            _check_format(media_type, part.param)
            raise InvalidBase64Image("An image's data URL must be base64.", param=part.param)
        pieces = chain((first[header.end() :],), pieces)
    _check_format(media_type, part.param)
    size_bytes = decoded_size(pieces)
    if size_bytes is None:
        raise InvalidBase64Image("Invalid base64 encoding of an image.", param=part.param)
    _check_size(size_bytes, max_bytes, part.param)


def decoded_size(pieces: Iterable[bytes] | Iterator[bytes]) -> int | None:
    """How many bytes this base64 stands for; None if it is not base64 (or nothing at all).

    Strictly by RFC 4648 §4: its alphabet, its padding, and nothing else.
    """
    digits = padding = 0
    for piece in pieces:
        bare = piece.rstrip(b"=")
        if bare and (padding or bare.translate(None, _ALPHABET)):
            return None
        digits += len(bare)
        padding += len(piece) - len(bare)
    if not digits or padding > 2 or (digits + padding) % 4:
        return None
    return digits * 3 // 4


def _size(size_bytes: int) -> str:
    mib = f"{size_bytes / MIB:.1f}".removesuffix(".0")
    return f"{mib} MiB" if size_bytes >= MIB // 10 else f"{size_bytes} bytes"
