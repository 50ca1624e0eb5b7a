"""What is said of credentials: which there are, and which of them opens a route."""

from __future__ import annotations

from llmlb.accounts import Role
from llmlb.http.access.credentials import SESSION_COOKIE
from llmlb.http.access.needs import Need
from llmlb.http.openapi.route import JsonSchema

SCHEMES: JsonSchema = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, `sk_…`.",
    },
    "key_header": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "The same key; this header wins.",
    },
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `token` of `POST /api/auth/login`.",
    },
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": SESSION_COOKIE,
        "description": "What the same route sets, for browsers.",
    },
}


def security_of(need: Need) -> list[dict[str, list[str]]]:
    """The schemes of which any one will do; none for what is public."""
    schemes = []
    if need.key is not None:
        schemes += ["key", "key_header"]
    if need.role is not None:
        schemes += ["token", "cookie"]
    return [{scheme: []} for scheme in schemes]


def who_may(need: Need) -> str:
    """The same in a sentence; empty for what is public."""
    who = []
    if need.role is not None:
        who.append("an administrator" if need.role is Role.ADMIN else "anybody who has logged in")
    if need.key is not None:
        who.append(f"a key with `{need.key.value}`")
    return f"For {' or '.join(who)}." if who else ""
