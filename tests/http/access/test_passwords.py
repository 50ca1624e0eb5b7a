"""That passwords are hashed as they should be, also those that an older llmlb has hashed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import bcrypt
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from llmlb.errors import RateLimitExceeded
from llmlb.http.access.passwords import AT_ONCE, MOST_WAITING, Passwords
from tests.fakes.accounts import PASSWORD, cheap_hash
from tests.fakes.house import run_inline

T = TypeVar("T")


@pytest.fixture
def passwords() -> Passwords:
    return Passwords(run_inline)


def of_rust(password: bytes) -> str:
    """As the Rust llmlb has hashed it, but for the work."""
    return bcrypt.hashpw(password[:72], bcrypt.gensalt(4, b"2b")).decode()


async def test_a_password_is_kept_as_argon2id_and_recognised(passwords: Passwords) -> None:
    kept = await passwords.hashed(PASSWORD)
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert PASSWORD not in kept
    assert await passwords.check(PASSWORD, kept) == (True, None)
    assert await passwords.check(PASSWORD + " ", kept) == (False, None)
    assert await passwords.hashed(PASSWORD) != kept, "for the salt is another one"


@pytest.mark.parametrize("password", ["pässwörd 😀", "\x00 in it", "\udcff", "x" * 1024, " "])
async def test_any_text_can_be_a_password(passwords: Passwords, password: str) -> None:
    kept = cheap_hash("another")
    assert await passwords.check(password, kept) == (False, None)
    right, better = await passwords.check(password, await passwords.hashed(password))
    assert (right, better) == (True, None)


async def test_a_hash_that_cost_too_little_is_replaced_when_the_password_is_known(
    passwords: Passwords,
) -> None:
    right, better = await passwords.check(PASSWORD, cheap_hash())
    assert right
    assert better is not None
    assert await passwords.check(PASSWORD, better) == (True, None)
    assert await passwords.check("wrong", cheap_hash()) == (False, None)


@pytest.mark.parametrize("letter", ["a", "b", "y"])
async def test_a_hash_of_the_rust_llmlb_is_recognised_and_replaced(
    passwords: Passwords, letter: str
) -> None:
    known = of_rust(PASSWORD.encode()).replace("$2b$", f"$2{letter}$")
    right, better = await passwords.check(PASSWORD, known)
    assert right
    assert better is not None
    assert better.startswith("$argon2id$")
    assert await passwords.check(PASSWORD, better) == (True, None)
    assert await passwords.check("wrong", known) == (False, None)


async def test_of_a_long_password_bcrypt_knew_72_bytes_and_the_better_hash_knows_all(
    passwords: Passwords,
) -> None:
    long = "ü" * 50  # 100 bytes
    known = of_rust(long.encode())
    right, better = await passwords.check(long, known)
    assert right
    assert better is not None
    assert await passwords.check(long, better) == (True, None)
    assert await passwords.check(long[:40], better) == (False, None)
    assert await passwords.check("ü" * 35, known) == (False, None)


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "plain text",
        "$argon2id$",
        "$argon2id$v=19$m=8,t=1,p=1$x$y",
        "$argon2id$v=19$m=99999999999,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
        "$2b$",
        "$2b$12$tooshort",
        "$2b$99$" + "a" * 53,
        "$2b$04$" + "!" * 53,
        "$2b$04$" + "a" * 500,
        "$2b$04$ü" + "a" * 52,
        "$scrypt$x",
        "\x00",
    ],
)
async def test_a_hash_that_is_none_lets_nobody_in(passwords: Passwords, garbage: str) -> None:
    for password in (PASSWORD, garbage, ""):
        assert await passwords.check(password, garbage) == (False, None)


async def test_for_somebody_who_is_not_there_a_hash_is_checked_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the time it takes would tell who is there."""
    verified: list[str] = []
    passwords = Passwords(run_inline)
    verify = passwords._hash.verify

    def watched(password: str | bytes, known: str | bytes) -> bool:
        verified.append(str(known))
        return verify(password, known)

    monkeypatch.setattr(passwords._hash, "verify", watched)
    for _ in range(2):
        assert await passwords.check(PASSWORD, None) == (False, None)
    assert len(verified) == 2
    assert verified[0] == verified[1], "which is made once"
    assert verified[0].startswith("$argon2id$v=19$m=65536,t=3,p=4$"), "and costs as much"


# -- how many at once


class Workshop:
    """Threads that a test lets finish, one by one."""

    def __init__(self) -> None:
        self.at_work = self.most_at_work = 0
        self.done = trio.Semaphore(0)

    async def __call__(self, sync_fn: Callable[[], T], /) -> T:
        self.at_work += 1
        self.most_at_work = max(self.at_work, self.most_at_work)
        try:
            await self.done.acquire()
            return sync_fn()
        finally:
            self.at_work -= 1


async def test_few_are_worked_on_at_once_and_few_wait(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    workshop, answered = Workshop(), list[bool]()
    passwords = Passwords(workshop)

    async def check() -> None:
        right, _ = await passwords.check("wrong", cheap_hash())
        answered.append(right)

    for _ in range(AT_ONCE + MOST_WAITING):
        nursery.start_soon(check)
        await wait_all_tasks_blocked()
    assert workshop.at_work == AT_ONCE
    for ask in (lambda: passwords.check(PASSWORD, None), lambda: passwords.hashed(PASSWORD)):
        with pytest.raises(RateLimitExceeded, match="Too many log in at once") as refusal:
            await ask()
        assert refusal.value.retry_after_s == 5

    workshop.done.release()
    await wait_all_tasks_blocked()
    nursery.start_soon(check)  # there is room for one again
    for _ in range(AT_ONCE + MOST_WAITING):
        workshop.done.release()
        await wait_all_tasks_blocked()
    assert answered == [False] * (AT_ONCE + MOST_WAITING + 1)
    assert workshop.most_at_work == AT_ONCE


async def test_whoever_gives_up_gives_the_place_to_the_next(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    workshop = Workshop()
    passwords = Passwords(workshop)
    for _ in range(AT_ONCE + MOST_WAITING):
        nursery.start_soon(passwords.hashed, PASSWORD)
    await wait_all_tasks_blocked()
    nursery.cancel_scope.cancel()
    with trio.CancelScope(shield=True), trio.move_on_after(1):
        await passwords.hashed(PASSWORD)
    assert workshop.most_at_work == AT_ONCE
