"""How keys, codes and passwords are made, and how a presented key is recognised."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string

from llmlb.accounts.types import ApiKey
from llmlb.accounts.view import Accounts

PREFIX_CHARS = 10
"""Of a key, so many are stored as they are: `sk_` and 7 of 32, which leaves 25 that are not."""

_ALPHANUMERIC = string.ascii_letters + string.digits


def new_api_key() -> str:
    """`sk_` and 32 random alphanumerics: 190 bits."""
    return "sk_" + _random(32)


def new_invitation_code() -> str:
    """`inv_` and 24 random alphanumerics."""
    return "inv_" + _random(24)


def new_password() -> str:
    """16 random alphanumerics, for a user to change at once."""
    return _random(16)


def _random(n_chars: int) -> str:
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(n_chars))


def digest_of(secret: str) -> str:
    """SHA-256 in hex. Enough for what is random; passwords are hashed otherwise."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def find_key(accounts: Accounts, presented: str) -> ApiKey | None:
    """The key that *presented* is, expired or disabled ones too.

    What is compared does not end at the first difference, and every candidate is compared, so
    that the time it takes tells nothing but whether the prefix is known, which is no secret.
    """
    digest, found = digest_of(presented), None
    alike = accounts.by_prefix.get(presented[:PREFIX_CHARS], ())
    for key in (*alike, *accounts.by_prefix.get("", ())):  # the Rust llmlb did not always keep it
        if hmac.compare_digest(key.digest, digest):
            found = key
    return found
