"""Which pages of other origins may call `/v1` from a browser, and how the browser is told."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llmlb.errors import OriginNotAllowed
from llmlb.http.downstream import Headers
from llmlb.origins import ANY

METHODS = "GET, POST, DELETE"
"""All that any route of `/v1` takes; which path takes which is not told here."""

MAX_AGE_S = 600
"""So long a browser may remember that a page may call."""

_NAME = re.compile(r"[a-z0-9-]{1,64}")
_MOST_NAMES = 64

_MAY_BE_SENT = frozenset(
    {
        "accept",
        "anthropic-beta",
        "anthropic-dangerous-direct-browser-access",
        "anthropic-version",
        "authorization",
        "content-type",
        "idempotency-key",
        "traceparent",
        "tracestate",
        "user-agent",
        "x-api-key",
        "x-llmlb-timeout-s",
        "x-request-id",
        "x-requested-with",
    }
)
_MAY_BE_SENT_TOO = ("openai-", "x-stainless-")
"""Headers of clients and SDKs. None of them grants anything that it would not grant elsewhere."""

_SHOWN = frozenset({"retry-after", "x-request-id", "x-should-retry"})
_SHOWN_TOO = ("x-llmlb-", "x-queue-", "x-ratelimit-")


@dataclass(frozen=True, slots=True)
class Cors:
    """The origins whose pages may call. Keys are sent in headers, so never with credentials."""

    origins: frozenset[str] = frozenset()
    """Exactly as browsers write them; `*` alone: those of any page."""

    @property
    def _any(self) -> bool:
        return ANY in self.origins

    @property
    def on(self) -> bool:
        """Whether any page of another site may call."""
        return bool(self.origins)

    def allows(self, origin: str | None) -> bool:
        """Whether a page of *origin* may call."""
        return origin is not None and (self._any or origin in self.origins)

    def names(self, origin: str | None) -> bool:
        """Whether *origin* itself is named: `*` lets pages call, but trusts none of them."""
        return origin is not None and origin != ANY and origin in self.origins

    def told(self, origin: str) -> str:
        """The value of `access-control-allow-origin` for an *origin* that is allowed."""
        return ANY if self._any else origin

    def preflight(self, headers: Mapping[str, str]) -> Headers:
        """What a browser is told that asks before it calls. Raises OriginNotAllowed."""
        origin = headers.get("origin")
        if origin is None or not self.allows(origin):
            raise OriginNotAllowed(
                "Pages of this origin may not call this balancer from a browser; its operator "
                "names those that may in LLMLB_CORS_ORIGINS."
            )
        names = _sendable(headers.get("access-control-request-headers", ""))
        return (
            ("access-control-allow-origin", self.told(origin)),
            ("access-control-allow-methods", METHODS),
            *((("access-control-allow-headers", ", ".join(names)),) if names else ()),
            ("access-control-max-age", str(MAX_AGE_S)),
            ("vary", "origin"),
        )

    def for_answer(self, origin: str, names: Iterable[str]) -> Headers:
        """With an answer whose headers are *names*, for a page of an *origin* that is allowed."""
        shown = [n for n in names if n in _SHOWN or n.startswith(_SHOWN_TOO)]
        exposed = (("access-control-expose-headers", ", ".join(shown)),) if shown else ()
        return (("access-control-allow-origin", self.told(origin)), *exposed)


def _sendable(asked: str) -> list[str]:
    """Those of the header names in *asked* that a page may send, in lower case."""
    names = dict.fromkeys(name.strip().lower() for name in asked.split(","))
    sane = [name for name in names if _NAME.fullmatch(name)]
    return [n for n in sane if n in _MAY_BE_SENT or n.startswith(_MAY_BE_SENT_TOO)][:_MOST_NAMES]
