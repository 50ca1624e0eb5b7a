"""What of a log entry may be shown: all but secrets, known ones and those that look like one."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import islice
from typing import TypeAlias
from urllib.parse import quote, unquote, urlsplit

from llmlb.catalog import Catalog
from llmlb.settings import Settings
from llmlb.store.redaction import is_secret_name

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

HIDDEN = "***"

SHORTEST_KNOWN = 6
"""Shorter values of extra headers ("1", "home") would blot out half the log."""

MOST_KNOWN = 2000
"""Secrets that were in use before are known, too, for requests may still be under way."""

LONGEST_TEXT, LONGEST_JUDGED = 8 * 1024, 16 * 1024
"""In characters. A text is cut after it was judged, for half a secret is not known as one. So of a
text that is too long to be judged whole, as much goes from the end as a secret may be long."""

MOST_CHARS, MOST_ITEMS, DEEPEST = 64 * 1024, 1000, 8
"""Of one entry: characters and values all together, and how deep they may be nested."""

CUT = "…"

_HINTS = (
    "key", "pass", "secret", "token", "auth", "cookie", "credential", "bearer", "basic", "sk-",
    "sk_", "inv_", "eyj", "://", "llmlb_",
)  # fmt: skip
"""A text with none of these, in lower case, holds nothing of `_LOOKS_SECRET`."""

_OTEL_HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
"""Variables that hold what lets us in at a collector of traces."""

# Each part is bounded or begins at a fixed word, so that no text takes long to judge.
_LOOKS_SECRET = re.compile(
    r"""
    -----BEGIN[ ][A-Z ]{0,40}PRIVATE[ ]KEY-----[A-Za-z0-9+/=\s\\]*
    | (?<=://)[^/\s"']{1,512}@
    | (?P<scheme>(?:bearer|basic)\s{1,3})[^\s"',;]{6,}
    | (?P<name>
        (?:(?:api|private)[_-]?key|passw(?:or)?d|passphrase|secret(?:[_-]?key)?|token(?!s)
          |authorization|cookie|credentials?|llmlb_(?:jwt|csrf|device))
        (?:\\?["']?\s{0,3}[:=]\s{0,3} | \\?["'],\s{0,3}(?=b?\\?["']))  # in a pair: ('token', 'x')
        (?:(?:bearer|basic|digest|negotiate|apikey|token)\s{1,3})?
      )(?:b?\\?"[^"]{0,4096}\\?"? | b?\\?'[^']{0,4096}\\?'? | [^\s"',;&)}\]]+)
    | (?:(?<![a-z])|(?<=\\[nrt]))sk[-_][A-Za-z0-9_-]{8,}  # "risk-taking" is none; in a repr "\nsk"
    | sk_[A-Za-z0-9]{32}
    | inv_[A-Za-z0-9]{24}
    | eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*
    """,
    re.VERBOSE | re.IGNORECASE,
)


class Redactor:
    """Owns what is known to be secret: of the settings, and of the endpoints of a catalog.

    Any thread may use it. What is known is replaced as a whole, and learnt anew if two do so
    at once.
    """

    def __init__(self) -> None:
        self.catalog: Callable[[], Catalog | None] = lambda: None
        """The catalog of now, whose endpoints' keys and extra headers are secrets."""
        self._seen: Catalog | None = None
        self._newest_first: dict[str, None] = {}
        self._known: tuple[str, ...] = ()

    def learn(self, secrets: Iterable[str]) -> None:
        """Hide these from now on, however they are spelt."""
        new = dict.fromkeys(s for secret in secrets for s in _spellings(secret))
        if not new.keys() <= self._newest_first.keys():
            self._newest_first = dict(islice({**new, **self._newest_first}.items(), MOST_KNOWN))
            # one that is the beginning of another must not leave that one's end
            self._known = tuple(sorted(self._newest_first, key=len, reverse=True))

    def text(self, text: str) -> str:
        """*text* without secrets."""
        self._look_at_catalog()
        return self._judged(text)

    def value(self, value: object, also: Callable[[str], str]) -> Json:
        """A foreign *value* as JSON without secrets, bounded like an entry.

        *also* takes out of a text what is secret to whoever has told it.
        """
        self._look_at_catalog()
        return _Copy(lambda text: self._judged(also(text))).value(value, 0)

    def entry(self, told: Mapping[str, object]) -> tuple[dict[str, Json], int]:
        """*told* as JSON without secrets, and about how many bytes that is; both bounded."""
        self._look_at_catalog()
        copy = _Copy(self._judged)
        return copy.members(told), copy.size_bytes

    def _look_at_catalog(self) -> None:
        catalog = self.catalog()
        if catalog is not self._seen and catalog is not None:
            self._seen = catalog
            self.learn(
                secret
                for endpoint in catalog.endpoints.values()
                for secret in (endpoint.api_key or "", *(v for _, v in endpoint.extra_headers))
            )

    def _judged(self, text: str) -> str:
        if len(text) < SHORTEST_KNOWN:
            return text
        for secret in self._known:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        lower = text.lower()
        for hint in _HINTS:
            if hint in lower:
                return _LOOKS_SECRET.sub(_without_value, text)
        return text


class _Copy:
    """One copy of foreign values as JSON, and what is left of its bounds."""

    def __init__(self, judged: Callable[[str], str]) -> None:
        self._judged = judged
        self._chars_left, self._items_left = MOST_CHARS, MOST_ITEMS

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory: characters, and 64 bytes a value."""
        return MOST_CHARS - self._chars_left + 64 * (MOST_ITEMS - self._items_left)

    def members(self, told: Mapping[str, object]) -> dict[str, Json]:
        """The fields of an entry, whose names are ours."""
        return {
            name: HIDDEN if value is not None and _is_secret_field(name) else self.value(value, 0)
            for name, value in told.items()
        }

    def _members(self, told: Mapping[object, object], depth: int) -> dict[str, Json]:
        found: dict[str, Json] = {}
        for name, value in told.items():
            if self._items_left <= 0:
                break
            shown = self._text(str(name))
            hide = value is not None and is_secret_name(shown)
            found[shown] = HIDDEN if hide else self.value(value, depth)
        return found

    def value(self, value: object, depth: int) -> Json:
        self._items_left -= 1
        if isinstance(value, str):
            return self._text(value)
        if value is None or isinstance(value, (bool, int, float)):
            odd = isinstance(value, float) and not math.isfinite(value)
            return str(value) if odd else value
        match value:
            case _ if depth >= DEEPEST:
                return CUT
            case Mapping():
                return self._members(value, depth + 1)
            case list() | tuple() | set() | frozenset():
                items: list[Json] = []
                for item in value:
                    if self._items_left <= 0:
                        break
                    items.append(self.value(item, depth + 1))
                return items
            case _:
                return self._text(repr(value))

    def _text(self, text: str) -> str:
        shown = self._judged(text[:LONGEST_JUDGED])
        if len(text) > LONGEST_JUDGED:
            shown = shown[: -(LONGEST_JUDGED - LONGEST_TEXT)] + CUT
        most = min(LONGEST_TEXT, self._chars_left)
        if len(shown) > most:
            shown = shown[:most] + CUT
            self._chars_left -= most
        else:
            self._chars_left -= len(shown)
        return shown


def secrets_of(settings: Settings, environ: Mapping[str, str] = os.environ) -> list[str]:
    """What nobody may read of *settings*, and of *environ* what OpenTelemetry's SDK reads there."""
    found = []
    for name in _OTEL_HEADERS:
        for header in environ.get(name, "").split(","):
            # the SDK quotes what it does not understand: "key: value", say
            value = re.split("[=:]", header, maxsplit=1)[-1].strip()
            found += [value, unquote(value)]
    if settings.admin_password is not None:
        found.append(settings.admin_password.get_secret_value())
    if settings.secret_key is not None:
        whole = settings.secret_key.get_secret_value()
        found += [whole, *(part.strip() for part in whole.split(","))]
    try:
        password = urlsplit(settings.database_url or "").password or ""
        found += [password, unquote(password)]
    except ValueError:  # no URL; the start refuses it
        found.append(settings.database_url or "")
    return found


@lru_cache(maxsize=1024)
def _is_secret_field(name: str) -> bool:
    return is_secret_name(name)


def _spellings(secret: str) -> Iterable[str]:
    """*secret* as it is, as it stands in JSON or in a repr, and percent-encoded."""
    if len(secret) < SHORTEST_KNOWN:
        return
    yield secret
    yield json.dumps(secret)[1:-1]
    yield repr(secret)[1:-1]
    yield quote(secret, safe="")


def _without_value(found: re.Match[str]) -> str:
    kept = found["scheme"] or found["name"]
    if kept is not None:
        return f"{kept}{HIDDEN}"
    return f"{HIDDEN}@" if found[0].endswith("@") else HIDDEN
