"""What a request's headers offer as proof of who is asking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import jwt
from werkzeug.http import parse_cookie

from llmlb.errors import AuthenticationError, InvalidSession

SESSION_COOKIE, CSRF_COOKIE, DEVICE_COOKIE = "llmlb_jwt", "llmlb_csrf", "llmlb_device"
CSRF_HEADER = "x-csrf-token"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is offered. Said by header, it wins: cookies are sent unasked."""

    key: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    cookie: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Credentials:
        """`X-API-Key` wins over `Authorization`, which may hold a key or a session's token.

        Raises AuthenticationError for an Authorization that is no Bearer, and InvalidSession for
        cookies that contradict each other.
        """
        if "x-api-key" in headers:
            return cls(key=headers["x-api-key"].strip())
        if "authorization" in headers:
            scheme, _, said = headers["authorization"].strip().partition(" ")
            if scheme.lower() != "bearer":
                raise AuthenticationError(
                    "The Authorization header must be 'Bearer' and a key or a token."
                )
            said = said.strip()
            return cls(token=said) if _looks_like_token(said) else cls(key=said)
        return cls(cookie=cookie_of(headers, SESSION_COOKIE))


def cookie_of(headers: Mapping[str, str], name: str) -> str | None:
    """The cookie *name*. Raises InvalidSession if it is there with several values.

    A page of another port or of a parent domain can set a second one beside ours, and make
    somebody act for the attacker's account.
    """
    if name not in headers.get("cookie", ""):
        return None
    # ours are ASCII, but others of the same host may be anything, of which the parser despairs
    readable = headers["cookie"].encode("ascii", "replace").decode()
    values = set(parse_cookie(readable).getlist(name))
    if len(values) > 1:
        raise InvalidSession(f"There are several cookies '{name}': delete them, and log in anew.")
    return next(iter(values), None) or None


def _looks_like_token(text: str) -> bool:
    """Three parts with dots between them, of which the first is the header of a token."""
    if text.count(".") != 2 or not all(text.split(".")):
        return False
    try:
        jwt.get_unverified_header(text)
    except jwt.PyJWTError:
        return False
    return True
