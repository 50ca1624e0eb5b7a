"""What keys, codes and passwords look like, and which key is found."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.accounts import Accounts
from llmlb.accounts.credentials import (
    PREFIX_CHARS,
    digest_of,
    find_key,
    new_api_key,
    new_invitation_code,
    new_password,
)
from tests.fakes.accounts import LONG_AGO, key, secret_of, user


@pytest.mark.parametrize(
    ("made", "begins", "random_chars"),
    [(new_api_key, "sk_", 32), (new_invitation_code, "inv_", 24), (new_password, "", 16)],
)
def test_what_is_made_is_alphanumeric_and_never_the_same_twice(
    made: Callable[[], str], begins: str, random_chars: int
) -> None:
    many = {made() for _ in range(200)}
    assert len(many) == 200
    for one in many:
        assert one.startswith(begins)
        rest = one.removeprefix(begins)
        assert len(rest) == random_chars
        assert rest.isascii()
        assert rest.isalnum()


def test_most_of_a_key_is_not_in_its_prefix() -> None:
    assert len(new_api_key()) - PREFIX_CHARS == 25


def test_a_digest_is_sha256_in_hex() -> None:
    assert digest_of("sk_ü") == hashlib.sha256("sk_ü".encode()).hexdigest()


@given(st.text())
def test_whatever_is_presented_has_a_digest_and_is_no_key(presented: str) -> None:
    assert len(digest_of(presented)) == 64
    assert find_key(Accounts.of([user(), key()]), presented) is None


def test_a_text_that_no_encoding_can_hold_is_no_key() -> None:
    assert find_key(Accounts.of([user(), key()]), "sk_laptop\udcff") is None


def test_a_key_is_found_by_the_whole_of_it() -> None:
    one, other = key("one"), key("other")
    accounts = Accounts.of([user(), one, other])
    assert find_key(accounts, secret_of("one")) == one
    assert find_key(accounts, secret_of("other")) == other
    for near in (
        secret_of("one")[:-1],
        secret_of("one") + "0",
        secret_of("one").upper(),
        " " + secret_of("one"),
        one.prefix,
        one.digest,
        "",
    ):
        assert find_key(accounts, near) is None


def test_keys_with_the_same_prefix_are_told_apart() -> None:
    alike = [key(f"laptops-{n}") for n in range(5)]
    assert len({one.prefix for one in alike}) == 1
    accounts = Accounts.of([user(), *alike])
    for one in alike:
        assert find_key(accounts, secret_of(one.name)) == one


def test_disabled_and_expired_keys_are_found_too() -> None:
    disabled, expired = key("disabled", enabled=False), key("expired", expires_at=LONG_AGO)
    accounts = Accounts.of([user(), disabled, expired])
    assert find_key(accounts, secret_of("disabled")) == disabled
    assert find_key(accounts, secret_of("expired")) == expired


def test_a_key_without_a_prefix_is_found_beside_those_that_have_one() -> None:
    bare = replace(key("laptops-old"), prefix="")
    accounts = Accounts.of([user(), key("laptops-new"), bare])
    assert find_key(accounts, secret_of("laptops-old")) == bare
    assert find_key(accounts, secret_of("laptops-new")) == key("laptops-new")
    assert find_key(accounts, "") is None


def test_every_candidate_is_compared_wherever_the_right_one_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that the time it takes says nothing of where, or whether, there was a difference."""
    compared: list[tuple[str, str]] = []

    class Watched:
        @staticmethod
        def compare_digest(one: str, other: str) -> bool:
            compared.append((one, other))
            return hmac.compare_digest(one, other)

    monkeypatch.setattr("llmlb.accounts.credentials.hmac", Watched)
    alike = [key(f"laptops-{n}") for n in range(4)]
    accounts = Accounts.of([user(), *alike, key("elsewhere")])
    for presented in (*(secret_of(one.name) for one in alike), secret_of("laptops-x")):
        compared.clear()
        find_key(accounts, presented)
        assert compared == [(one.digest, digest_of(presented)) for one in alike]


def test_whether_a_key_has_expired_is_known_to_the_instant() -> None:
    ends = key(expires_at=LONG_AGO)
    assert not ends.expired(LONG_AGO - timedelta(microseconds=1))
    assert ends.expired(LONG_AGO)
    assert not key().expired(LONG_AGO)
