"""Which headers every answer gets for the sake of browsers, decided the same way for every face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llmlb.errors import OriginNotAllowed
from llmlb.http.cors import Cors
from llmlb.http.downstream import Head, Headers
from llmlb.settings import Settings

_SAME_ORIGIN = ("cross-origin-resource-policy", "same-origin")

_EVERY: Headers = (
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    # Streams, too: one of a stored response is asked for by GET, and a cache might keep it.
    ("cache-control", "no-store"),
)

OF_API: Headers = (
    *_EVERY,
    ("referrer-policy", "no-referrer"),
    _SAME_ORIGIN,
    (
        "content-security-policy",
        # base-uri and form-action do not fall back to default-src
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
)
"""With whatever is no page of ours: should a browser show it as one, it can do nothing."""

OF_PAGES: Headers = (
    *_EVERY,
    # with no-referrer, a browser would send a form of ours as from the origin `null`
    ("referrer-policy", "same-origin"),
    _SAME_ORIGIN,
    (
        "content-security-policy",
        (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        ),
    ),
    ("cross-origin-opener-policy", "same-origin"),
    # What no page of ours needs, a script that got in nevertheless shall not have.
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)

_OF_API_SHARED = tuple(pair for pair in OF_API if pair != _SAME_ORIGIN)

_ASKS_FIRST = frozenset({"origin", "access-control-request-method"})


@dataclass(frozen=True, slots=True)
class ResponsePolicy:
    """Made from the settings, once; asked for every answer."""

    cors: Cors = field(default_factory=Cors)

    @classmethod
    def of(cls, settings: Settings) -> ResponsePolicy:
        """As *settings* have it."""
        return cls(Cors(frozenset(settings.cors_origins)))

    def headers_for(
        self, path: str, origin: str | None, said: Mapping[str, str], *, page: bool = False
    ) -> Headers:
        """What an answer gets besides what it has *said*, by lower-case name.

        *path* and *origin* are those of the request. What is said already stays as it is.
        """
        ours = self._headers_for(path, origin, said, page=page)
        return tuple(pair for pair in ours if pair[0] not in said)

    def _headers_for(
        self, path: str, origin: str | None, said: Mapping[str, str], *, page: bool
    ) -> Headers:
        if page:
            return OF_PAGES
        if not self.cors.on or not is_shared(path) or "access-control-allow-origin" in said:
            return OF_API
        if origin is None or not self.cors.allows(origin):
            return (*OF_API, ("vary", "origin"))
        return (*_OF_API_SHARED, ("vary", "origin"), *self.cors.for_answer(origin, said))

    def preflight(self, method: str, path: str, headers: Mapping[str, str]) -> Head | None:
        """The answer to a browser that asks whether a page may call; None: it does not ask that.

        It takes no credential, for browsers send none, and tells nothing of what there is at
        *path*. Raises OriginNotAllowed, also for what is not under `/v1`.
        """
        if method != "OPTIONS" or not headers.keys() >= _ASKS_FIRST:
            return None
        if not is_shared(path):
            raise OriginNotAllowed("Pages of other origins may call what is under /v1 alone.")
        return Head(204, self.cors.preflight(headers))

    def invites(self, path: str, origin: str | None) -> bool:
        """Whether the operator has named *origin* as one whose pages may call *path*."""
        return is_shared(path) and self.cors.names(origin)


def is_shared(path: str) -> bool:
    """Whether pages of other origins may be let call *path*: never what is of management."""
    return path.startswith("/v1/")
