"""What stands behind one image URL: a few redirects, and then an image of a known kind."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import trio

from llmlb.http.upstream.client import UpstreamClient, UpstreamResponse
from llmlb.http.upstream.faults import AddressRefused, UpstreamFault
from llmlb.http.vision.checking import FORMATS
from llmlb.types import Endpoint, EndpointId

MAX_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_SAYS_NOTHING = ("", "application/octet-stream", "binary/octet-stream")
_CLOSE_WITHIN_S = 1.0

_MIB = 1024 * 1024


class NotFetched(Exception):
    """str(error) says why, for the client: in half a sentence, and nothing of our network."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image as it was downloaded."""

    media_type: str
    """By its first bytes, whatever its server says."""
    content: bytes


class _Target(NamedTuple):
    origin: str
    """`scheme://host:port`."""
    path: str
    """With the query."""


class _Elsewhere(NamedTuple):
    url: str


async def download(client: UpstreamClient, url: str, *, max_bytes: int) -> Image:
    """Fetch the image at *url*. Raises NotFetched. The time is for the caller to bound.

    *client* has to refuse private addresses by itself, at every connection; each redirect is a
    connection of its own.
    """
    for _ in range(1 + MAX_REDIRECTS):
        answer = await _get(client, _target(url), max_bytes)
        if isinstance(answer, Image):
            return answer
        try:
            url = urljoin(url, answer.url)
        except ValueError:
            raise NotFetched("it redirects to a URL that is not valid") from None
    raise NotFetched(f"it redirects more than {MAX_REDIRECTS} times")


def _target(url: str) -> _Target:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise NotFetched("the URL is not valid") from None
    if parts.scheme not in ("http", "https"):
        raise NotFetched("only http and https URLs are fetched")
    if not host or not url.isprintable() or "\\" in url or " " in url:
        raise NotFetched("the URL is not valid")
    if "@" in parts.netloc:
        raise NotFetched("a URL with a user name in it is not fetched")
    bracketed = f"[{host}]" if ":" in host else host
    origin = f"{parts.scheme}://{bracketed}" + (f":{port}" if port is not None else "")
    return _Target(origin, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))


async def _get(client: UpstreamClient, target: _Target, max_bytes: int) -> Image | _Elsewhere:
    # A stranger's server in the shape the client knows: no key, and no connection kept.
    stranger = Endpoint(
        EndpointId(str(uuid.uuid4())), "image", target.origin, datetime.fromtimestamp(0, UTC)
    )
    try:
        async with client.call(
            stranger, "GET", target.path, headers=[("accept", "image/*")]
        ) as response:
            return await _read(response, max_bytes)
    except AddressRefused:
        raise NotFetched("its host has no public address") from None
    except UpstreamFault as fault:
        # The faults' own texts speak of endpoints, and of the network.
        raise NotFetched(f"its server could not be read ({fault.kind.value})") from None
    finally:
        with trio.move_on_after(_CLOSE_WITHIN_S, shield=True):
            await client.forget(stranger.id)


async def _read(response: UpstreamResponse, max_bytes: int) -> Image | _Elsewhere:
    if response.status in _REDIRECTS and response.headers.get("location"):
        return _Elsewhere(response.headers["location"])
    if response.status != 200:
        raise NotFetched(f"its server answers with HTTP {response.status}")
    said = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if said not in FORMATS and said not in _SAYS_NOTHING:
        shown = said[:80] if said.isprintable() else "unreadable"
        raise NotFetched(f"its format is not supported: {shown}")
    length = response.headers.get("content-length", "")
    received = bytearray()
    if length.isdecimal() and len(length) < 20 and int(length) > max_bytes:
        raise _too_large(max_bytes)
    async for chunk in response.chunks():
        received += chunk
        if len(received) > max_bytes:
            raise _too_large(max_bytes)
    media_type = kind_of(received)
    if media_type is None:
        raise NotFetched("it is not a jpeg, png, gif or webp image")
    return Image(media_type, bytes(received))


def kind_of(content: bytes | bytearray) -> str | None:
    """The media type that the first bytes of an image show."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "image/webp"
    return None


def _too_large(max_bytes: int) -> NotFetched:
    return NotFetched(f"it is larger than {max_bytes / _MIB:g} MiB")
