"""Which requests take the lane: those that are asked most, in the plainest form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httptools

from llmlb.http.paths import PATHS
from llmlb.http.policy import HEADER_BLOCK_LIMIT_BYTES
from llmlb.types import Api

_OF_THE_LANE = (
    Api.CHAT_COMPLETIONS,
    Api.COMPLETIONS,
    Api.EMBEDDINGS,
    Api.RESPONSES,
    Api.MESSAGES,
)
_APIS = {b"POST " + PATHS[api].encode(): api for api in _OF_THE_LANE}

_END = b"\r\n\r\n"
_VERSION = b" HTTP/1.1\r\n"
_OTHERWISE = frozenset({"transfer-encoding", "upgrade", "expect"})
"""Headers that ask for more than a body of a known length."""


@dataclass(frozen=True, slots=True)
class LaneHead:
    """The head of a request that takes the lane."""

    api: Api
    path: str
    query: bytes
    headers: Mapping[str, str]
    """By lower-case name; repeated ones joined with a comma."""
    size_bytes: int
    """Of the head itself."""
    body_bytes: int
    keeps_alive: bool
    """Whether the client means to go on with this connection."""


def lane_head(received: bytes) -> LaneHead | None:
    """The head that *received* begins with; None: it is not whole, or not one for the lane.

    What the parser refuses (bare LF, folded lines, two lengths and the like) is not for the lane
    either: it is refused where everything else is, in the same words.
    """
    at = received.find(_END)
    if not 0 <= at <= HEADER_BLOCK_LIMIT_BYTES - len(_END):
        return None
    line_end = received.find(_VERSION, 0, at + len(_VERSION))
    target, _, _ = received[: max(line_end, 0)].partition(b"?")
    api = _APIS.get(target)
    query = received[len(target) : line_end]  # nothing is asked of it, but that it is one
    if api is None or not query.isascii() or b" " in query:
        return None
    reader = _Reader()
    try:
        httptools.HttpRequestParser(reader).feed_data(received[: at + len(_END)])
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    headers = reader.headers
    if reader.hosts != 1 or not _OTHERWISE.isdisjoint(headers):
        return None
    return LaneHead(
        api,
        PATHS[api],
        query[1:],
        headers,
        at + len(_END),
        int(headers.get("content-length", "0")),
        "close" not in _wishes(headers.get("connection", "")),
    )


def _wishes(connection: str) -> list[str]:
    """What a `Connection` header asks for."""
    return [wish.strip() for wish in connection.lower().split(",")]


class _Reader:
    """Hears of the headers from the parser."""

    __slots__ = ("headers", "hosts")

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.hosts = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.strip(b" \t").decode("latin-1")
        if key == "host":
            self.hosts += 1
        if key in self.headers:
            between = "; " if key == "cookie" else ", "
            text = f"{self.headers[key]}{between}{text}"
        self.headers[key] = text
