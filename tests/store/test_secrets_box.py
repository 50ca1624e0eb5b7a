"""Keys and what they seal."""

from __future__ import annotations

import re

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from llmlb.errors import StartupError
from llmlb.store.secret_box import (
    PREFIX,
    SecretBox,
    WrongKey,
    box_from_setting,
    box_in_memory,
    keys_of,
    new_key,
)

A, B = new_key(), new_key()
WORDS = "what a person thought of and longer than 32"
BOX = box_in_memory()


@given(st.text())
def test_what_is_sealed_can_be_opened_and_is_not_seen(text: str) -> None:
    sealed = BOX.seal(text)
    assert sealed.startswith(PREFIX)
    assert BOX.open(sealed) == text.encode("utf-8", "backslashreplace").decode()
    assert BOX.seal(text) != sealed


@given(st.text())
def test_what_is_no_token_is_refused_and_what_is_not_sealed_stays(text: str) -> None:
    with pytest.raises(WrongKey):
        BOX.open(PREFIX + text)
    if not text.startswith(PREFIX):
        assert BOX.open(text) == text


def test_a_key_that_looks_sealed_is_sealed_all_the_same() -> None:
    assert BOX.open(BOX.seal(PREFIX + "x")) == PREFIX + "x"


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    old, new = box_from_setting(A), box_from_setting(f" {B} ,, {A},")
    assert new.open(old.seal("x")) == "x"
    assert box_from_setting(B).open(new.seal("x")) == "x"
    with pytest.raises(WrongKey):
        old.open(new.seal("x"))


def test_a_fernet_key_is_taken_as_it_is() -> None:
    sealed = box_from_setting(A).seal("x")
    assert Fernet(A).decrypt(sealed.removeprefix(PREFIX)) == b"x"


@pytest.mark.parametrize("text", [WORDS, "ключ" * 8, "\udcff" * 32, A[:-1], f"{A[:10]} {A[10:]}"])
def test_any_other_long_text_is_a_key_too(text: str) -> None:
    sealed = box_from_setting(text).seal("x")
    assert box_from_setting(text).open(sealed) == "x"
    with pytest.raises(WrongKey):
        box_from_setting(text + "!").open(sealed)


def test_the_key_of_a_text_stays_the_same_in_all_versions() -> None:
    (key,) = keys_of([WORDS], "x")
    assert key.decrypt(SEALED_WITH_WORDS) == b"x"


SEALED_WITH_WORDS = (
    b"gAAAAABrDY7G6KfB5IVNiojX3BxUIICNDdvJFpqfy4W2moZCyCVaU4vlCPQo"
    b"WiNm3SGd_7F2dwZS18UK57u8ZemBzlmZvZzNVg=="
)


@pytest.mark.parametrize("text", ["short", f"{A},short", "x" * 31, ",", " "])
def test_a_key_that_can_be_guessed_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(StartupError) as refused:
        box_from_setting(text)
    said = str(refused.value)
    assert re.fullmatch(r"LLMLB_SECRET_KEY holds .*: make one with 'openssl rand .*'\.", said)
    assert "short" not in said
    assert "xxx" not in said


def test_a_box_without_keys_opens_nothing_and_gets_them_at_first_need() -> None:
    made = []

    def make() -> list[Fernet]:
        made.append(1)
        return [Fernet(A)]

    box = SecretBox([], remedy="", make=make)
    with pytest.raises(WrongKey):
        box.open(box_from_setting(A).seal("x"))
    assert box.open("plain") == "plain"
    assert not made
    assert box.open(box.seal("x")) == "x"
    assert box.open(box.seal("y")) == "y"
    assert made == [1]


def test_a_box_shows_no_key() -> None:
    assert A not in repr(box_from_setting(A)) + str(vars(box_from_setting(A)))
