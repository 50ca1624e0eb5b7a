"""Who fetches an image that a request names by URL: nobody, its endpoint, or we (and how)."""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import trio

from llmlb.errors import InvalidRequest, LbError, Overloaded
from llmlb.http.splicing import Edit, edited
from llmlb.http.upstream.client import UpstreamClient
from llmlb.http.vision.checking import MAX_IMAGE_BYTES
from llmlb.http.vision.download import NotFetched, download
from llmlb.http.vision.part import ImagePart

FETCHES_AT_ONCE = 8
"""Over all requests, so that what is being downloaded stays below 80 MiB."""

FETCH_TIMEOUT_S = 10.0
"""From waiting for a free place to the image's last byte, redirects included."""

MAX_URL_BYTES = 8 * 1024


class ImageFetch(StrEnum):
    """LLMLB_IMAGE_FETCH."""

    OFF = "off"
    PASSTHROUGH = "passthrough"
    INLINE = "inline"


class RemoteImagesOff(InvalidRequest):
    """Images that are named by a URL are not taken."""

    _code = "invalid_image_url"


class ImageNotFetched(InvalidRequest):
    """An image could not be fetched by its URL."""

    _code = "failed_to_download_image"


@dataclass(slots=True)
class RemoteImages:
    """What is done with images that are only named by a URL."""

    mode: ImageFetch
    client: UpstreamClient
    """On a GuardedNetwork: it is asked for whatever URL a client names."""
    timeout_s: float = FETCH_TIMEOUT_S
    max_bytes: int = MAX_IMAGE_BYTES
    _places: trio.CapacityLimiter = field(
        default_factory=lambda: trio.CapacityLimiter(FETCHES_AT_ONCE)
    )

    async def settle(
        self, body: bytes, parts: Sequence[ImagePart], hold: Callable[[int], bool]
    ) -> bytes:
        """*body* as an endpoint is to get it; *parts* are all its images, checked already.

        `inline` puts the bytes in the place of each URL. Before it keeps them it asks *hold*
        whether so many more may be held; giving back what was held is the caller's. Raises
        RemoteImagesOff, ImageNotFetched, Overloaded, each with the `param` of the image.
        """
        remote = [part for part in parts if part.is_remote]
        if not remote or self.mode is ImageFetch.PASSTHROUGH:
            return body
        if self.mode is ImageFetch.OFF:
            raise RemoteImagesOff(
                "Images by URL are switched off here; send the image as a data URL.",
                param=remote[0].param,
            )
        data_urls = await self._fetch_all(remote, hold)
        return edited(body, (Edit(part.start, part.end, data_urls[part.start]) for part in remote))

    async def _fetch_all(
        self, remote: Sequence[ImagePart], hold: Callable[[int], bool]
    ) -> dict[int, bytes]:
        """The data URL of each, by where its URL stands; the same URL is fetched once."""
        by_url: dict[str, list[ImagePart]] = {}
        for part in remote:
            by_url.setdefault(_url(part), []).append(part)
        fetched: dict[int, bytes] = {}
        failures: list[LbError] = []

        async def fetch(url: str, wanted: list[ImagePart]) -> None:
            try:
                data_url = await self._fetch(url, wanted[0].param)
                # Once for each place in the new body, and once for the data URL itself.
                if not hold(len(data_url) * (1 + len(wanted))):
                    raise Overloaded(
                        "Too many bytes are being held at once; try again in a moment.",
                        retry_after_s=1,
                    )
                fetched.update((part.start, data_url) for part in wanted)
            except LbError as failure:
                failures.append(failure)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for url, wanted in by_url.items():
                nursery.start_soon(fetch, url, wanted)
        if failures:
            raise failures[0]
        return fetched

    async def _fetch(self, url: str, param: str) -> bytes:
        try:
            with trio.fail_after(self.timeout_s):
                async with self._places:
                    image = await download(self.client, url, max_bytes=self.max_bytes)
        except trio.TooSlowError:
            reason = f"it did not come within {self.timeout_s:g} s"
        except NotFetched as failure:
            reason = str(failure)
        else:
            return b"data:%s;base64,%s" % (
                image.media_type.encode("ascii"),
                binascii.b2a_base64(image.content, newline=False),
            )
        raise ImageNotFetched(f"Failed to fetch an image by its URL: {reason}.", param=param)


def _url(part: ImagePart) -> str:
    if part.end - part.start > MAX_URL_BYTES:
        raise ImageNotFetched(
            f"Failed to fetch an image: its URL is longer than {MAX_URL_BYTES} bytes.",
            param=part.param,
        )
    try:
        text: str = json.loads(part.body[part.start - 1 : part.end + 1], strict=False)
    except ValueError:
        raise ImageNotFetched(
            "Failed to fetch an image: its URL is not valid.", param=part.param
        ) from None
    return text
