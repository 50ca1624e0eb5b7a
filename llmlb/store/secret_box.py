"""How secrets look at rest: encrypted by the newest key, readable by any that is still kept."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from llmlb.errors import StartupError

PREFIX = "enc:v1:"
"""Of all that is encrypted: a Fernet token follows."""

SHORTEST_KEY_CHARS = 32
_FERNET_KEY = re.compile(r"[A-Za-z0-9_-]{43}=")

# A person may have thought of the text, so each guess is made to cost as much as can be borne at a
# start (HKDF would cost nothing). A salt of its own per installation would have to be kept beside
# the database, and lost with it.
_SALT = b"llmlb: secrets at rest, v1"
_COST = 2**15


class WrongKey(Exception):
    """None of the keys opens it."""


def new_key() -> str:
    """A key that nobody can guess."""
    return Fernet.generate_key().decode()


def keys_of(texts: Iterable[str], where: str) -> list[Fernet]:
    """The keys that stand in *where*, in their order. Raises StartupError, which shows none.

    What is a Fernet key is taken as it is; of any other text one is derived, in a tenth of a
    second.
    """
    keys = [_key(text, where) for text in (text.strip() for text in texts) if text]
    if not keys:
        raise StartupError(f"{where} holds no key: {_HOW_TO_MAKE_ONE}.")
    return keys


_HOW_TO_MAKE_ONE = "make one with 'openssl rand -base64 32'"


def _key(text: str, where: str) -> Fernet:
    if len(text) < SHORTEST_KEY_CHARS:
        raise StartupError(
            f"{where} holds a key of fewer than {SHORTEST_KEY_CHARS} characters: "
            f"{_HOW_TO_MAKE_ONE}."
        )
    if _FERNET_KEY.fullmatch(text):  # Fernet itself would pass over what is not base64
        return Fernet(text)
    derive = Scrypt(salt=_SALT, length=32, n=_COST, r=8, p=1).derive
    return Fernet(base64.urlsafe_b64encode(derive(text.encode("utf-8", "surrogateescape"))))


class SecretBox:
    """Owns the keys: seals what is to be stored, and opens it again.

    While it has none, *make* is called for them by whatever is sealed first.
    """

    def __init__(
        self, keys: Sequence[Fernet], *, remedy: str, make: Callable[[], Sequence[Fernet]]
    ) -> None:
        self._keys = keys
        self._make = make
        self.remedy = remedy
        """What brings back a key that is missing; goes on after a colon."""

    def seal(self, text: str) -> str:
        """*text* for the database; never twice the same."""
        if not self._keys:
            self._keys = self._make()
        token = self._keys[0].encrypt(text.encode("utf-8", "backslashreplace"))
        return PREFIX + token.decode()

    def open(self, stored: str) -> str:
        """The text that was sealed, or *stored* itself if nothing was. Raises WrongKey."""
        if not is_sealed(stored):
            return stored
        if not self._keys:
            raise WrongKey
        token = stored.removeprefix(PREFIX).encode("utf-8", "replace")
        try:
            return MultiFernet(self._keys).decrypt(token).decode()
        except InvalidToken:
            raise WrongKey from None


def is_sealed(stored: str) -> bool:
    """Whether it is encrypted, or looks so."""
    return stored.startswith(PREFIX)


def box_in_memory() -> SecretBox:
    """For a database that is gone when it is closed, and its key with it."""
    keys = [Fernet(new_key())]
    return SecretBox(keys, remedy="start anew", make=lambda: keys)


def box_from_setting(text: str) -> SecretBox:
    """The keys of LLMLB_SECRET_KEY, with commas between them. Raises StartupError."""
    keys = keys_of(text.split(","), "LLMLB_SECRET_KEY")
    remedy = "put the key that it was encrypted with back into LLMLB_SECRET_KEY, behind a comma"
    return SecretBox(keys, remedy=remedy, make=lambda: keys)
