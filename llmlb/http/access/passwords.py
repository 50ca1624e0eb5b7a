"""How passwords are hashed and checked: slowly, on purpose, and never on the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio
from pwdlib import PasswordHash
from pwdlib.exceptions import PwdlibError
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher

from llmlb.accounts.credentials import new_password
from llmlb.errors import RateLimitExceeded
from llmlb.store.database import ThreadRunner

T = TypeVar("T")

AT_ONCE = 2
"""Each takes 64 MiB and a core for some 50 ms."""
MOST_WAITING = 32
BUSY_RETRY_AFTER_S = 5

BCRYPT_BYTES = 72
"""bcrypt, which the Rust llmlb used, looks no further."""


class Passwords:
    """Hashes with argon2id; checks bcrypt hashes, too, and gives a better one in their place."""

    def __init__(self, run_in_thread: ThreadRunner) -> None:
        self._run_in_thread = run_in_thread
        self._hash = PasswordHash((Argon2Hasher(), BcryptHasher()))
        self._at_once = trio.CapacityLimiter(AT_ONCE)
        self._nobodys: str | None = None

    async def hashed(self, password: str) -> str:
        """The hash to keep. Raises RateLimitExceeded if too many are waiting."""
        return await self._work(lambda: self._hash.hash(_raw(password)))

    async def check(
        self, password: str, known: str | None, *, patient: bool = False
    ) -> tuple[bool, str | None]:
        """Whether it is the one, and a better hash to keep in place of *known*, if there is one.

        Without a *known* hash the answer is no, and takes as long. Who is *patient* waits however
        many do. Raises RateLimitExceeded.
        """
        return await self._work(lambda: self._checked(_raw(password), known), patient=patient)

    def _checked(self, password: bytes, known: str | None) -> tuple[bool, str | None]:
        if known is None:
            self._nobodys = self._nobodys or self._hash.hash(new_password())
            self._hash.verify(password, self._nobodys)
            return False, None
        try:
            if not BcryptHasher.identify(known):
                return self._hash.verify_and_update(password, known)
            right = self._hash.verify(password[:BCRYPT_BYTES], known)
            return right, self._hash.hash(password) if right else None
        except (PwdlibError, ValueError):  # no hash at all: somebody has edited the database
            return False, None

    async def _work(self, work: Callable[[], T], *, patient: bool = False) -> T:
        if not patient and self._at_once.statistics().tasks_waiting >= MOST_WAITING:
            raise RateLimitExceeded(
                "Too many log in at once: try again in a moment.",
                retry_after_s=BUSY_RETRY_AFTER_S,
            )
        async with self._at_once:
            return await self._run_in_thread(work)


def _raw(password: str) -> bytes:
    return password.encode(errors="surrogatepass")
