"""What of an endpoint's bytes is the head of its answer, what is its body, and where it ends."""

from __future__ import annotations

from functools import lru_cache

import httptools

MAX_FRAMING_BYTES = 100 * 1024
"""A head and the interim ones before it, or what stands between two pieces of a body, may be so
long; what has come with it in one read is not counted."""

MAX_REPEATED = 256
"""So many headers may be said more than once."""

_NO_BODY = frozenset({204, 304})


class NotHttp(Exception):
    """It is no answer in HTTP/1.x, or one whose end would be a matter of opinion."""


class Ended(Exception):
    """The endpoint has closed its side before its answer was whole."""


class AnswerParser:
    """Reads the answers on one connection, one after the other. Knows of no connection.

    llhttp does the work. What it lets pass, but would be read differently by somebody else, is
    refused here; and what it keeps of a head, or skips in a body, is bounded.
    """

    __slots__ = (
        "_bodyless",
        "_framing_bytes",
        "_http",
        "_interim",
        "_repeated",
        "_spoiled",
        "_until_close",
        "begun",
        "complete",
        "head_complete",
        "headers",
        "pieces",
        "reusable",
        "status",
    )

    def __init__(self) -> None:
        self._http = httptools.HttpResponseParser(self)
        # none of these is ever true of a connection that is used again
        self._interim = self._spoiled = self._until_close = False
        self.expect()

    def expect(self, *, bodyless: bool = False) -> None:
        """The next answer is to come; *bodyless*: it was asked for by HEAD."""
        self.status = 0
        self.headers: dict[str, str] = {}
        """By lower-case name; repeated ones joined with a comma."""
        self.pieces: list[bytes] = []
        """Of the body, not taken yet."""
        self.begun = False
        """At least one byte has come."""
        self.head_complete = self.complete = False
        self.reusable = False
        """Whether another answer can come after this one, which is complete."""
        self._bodyless = bodyless
        self._framing_bytes = self._repeated = 0

    def feed(self, data: bytes) -> None:
        """*data* has come, not empty. Raises NotHttp, but not before what was good is taken."""
        self.begun = True
        if self._spoiled:
            raise NotHttp
        try:
            self._http.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.reusable = False
            if not self.complete:  # what comes after the end is nobody's
                self._spoil()
        if self._bodyless:
            self.pieces.clear()
        if self.pieces:
            self._framing_bytes = 0
            return
        self._framing_bytes += len(data)
        if self._framing_bytes > MAX_FRAMING_BYTES and not self.complete:
            self._spoil()

    def feed_end(self) -> None:
        """Nothing more will come. Raises Ended, NotHttp."""
        if self._spoiled:
            raise NotHttp
        if not self._until_close:
            raise Ended
        self.complete = True

    def take(self) -> bytes:
        """What has come of the body and was not taken yet; it is in `pieces`."""
        pieces = self.pieces
        if len(pieces) == 1:
            return pieces.pop()
        piece = b"".join(pieces)
        pieces.clear()
        return piece

    def _spoil(self) -> None:
        self._spoiled = True
        if not self.pieces:
            raise NotHttp from None

    # -- told by httptools, which makes an error of its own out of any that is raised here

    def on_message_begin(self) -> None:
        if self.complete:
            raise NotHttp

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head_complete:
            return  # a trailer
        key, text = _lower(name), value.decode("latin-1").rstrip(" \t")
        if key in self.headers:
            self._repeated += 1
            if self._repeated > MAX_REPEATED:
                raise NotHttp
            text = f"{self.headers[key]}, {text}"
        self.headers[key] = text

    def on_headers_complete(self) -> None:
        status = self._http.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._interim = True
            return
        coding = self.headers.get("transfer-encoding")
        if (
            status < 200
            or not (coding is None or coding.lower() == "chunked")
            # llhttp takes an HTTP/2.0, too, but does not keep it alive; to ask that is faster
            or not (self._http.should_keep_alive() or self._http.get_http_version()[:2] == "1.")
        ):
            raise NotHttp
        self.status = status
        self.head_complete = True
        if self._bodyless:
            self.complete = True  # llhttp waits for a body, so this connection has had its day
        elif coding is None and "content-length" not in self.headers:
            self._until_close = status not in _NO_BODY

    def on_body(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
            self.headers = {}
            return
        self.complete = True
        self.reusable = not self._bodyless and self._http.should_keep_alive()


@lru_cache(maxsize=256)
def _lower(name: bytes) -> str:
    return name.decode("latin-1").lower()
