"""What may be repeated of an endpoint's words: all but the secrets that it was sent."""

from __future__ import annotations

from llmlb.types import Endpoint

HIDDEN = "***"

SHORTEST_SECRET = 4
"""Shorter header values ("1", "on") are no secrets, and would blot out every digit."""

SHORTEST_PART = 8
"""Of a secret, at the end of a text that was cut off within it."""


def without_secrets(text: str, endpoint: Endpoint) -> str:
    """*text* without the key and the extra headers of *endpoint*: some servers quote them."""
    secrets = [endpoint.api_key or "", *(value for _, value in endpoint.extra_headers)]
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = _without_end(text.replace(secret, HIDDEN), secret)
    return text


def _without_end(text: str, secret: str) -> str:
    """*text* without the beginning of *secret* that it may end in, with dots or without."""
    shown = text.rstrip("…")
    for length in range(min(len(secret), len(shown)), SHORTEST_PART - 1, -1):
        if shown.endswith(secret[:length]):
            return shown[:-length] + HIDDEN
    return text
