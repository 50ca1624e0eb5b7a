"""Which models the list of a key lets it ask for, under which of their names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmlb.accounts import Permission, Role
from llmlb.catalog import Catalog
from llmlb.errors import PermissionDenied
from llmlb.http.access.caller import NOBODY, Caller, permissions_of
from llmlb.http.access.models import may_use, refuse_model
from tests.actors.conftest import catalog, endpoint
from tests.fakes.accounts import key, user

ENDPOINTS = (
    endpoint("a", "llama3:8b", "tiny"),
    replace(endpoint("b", "org/llama", "tiny"), model_aliases=(("fast", "org/llama"),)),
)
ALIASES = {"fast": ("llama3:8b", "org/llama"), "small": ("tiny",)}


@pytest.fixture
def known() -> Catalog:
    return Catalog.of({e.id: e for e in ENDPOINTS}, aliases=ALIASES)


def holding(*models: str) -> Caller:
    return Caller(None, user(), key(allowed_models=frozenset(models)))


def test_whoever_has_no_list_may_ask_for_anything(known: Catalog) -> None:
    for caller in (
        NOBODY,
        Caller(None, user()),
        Caller(None, user(), key()),
        Caller(None, local=True),
    ):
        for name in ("tiny", "fast", "unheard-of", ""):
            assert may_use(caller, name, known)


@pytest.mark.parametrize(
    ("allowed", "may", "may_not"),
    [
        (("tiny",), ("tiny", "small"), ("llama3:8b", "org/llama", "fast", "unheard-of", "Tiny")),
        (("small",), ("small",), ("tiny", "fast")),
        (("fast",), ("fast",), ("llama3:8b", "org/llama", "tiny")),
        (("llama3:8b",), ("llama3:8b",), ("fast", "org/llama")),
        (("llama3:8b", "org/llama"), ("llama3:8b", "org/llama", "fast"), ("tiny", "small")),
        ((), (), ("tiny", "fast", "small", "llama3:8b", "", "unheard-of")),
        (("gone",), ("gone",), ("tiny",)),
    ],
)
def test_a_name_is_allowed_that_is_listed_or_means_nothing_but_what_is(
    known: Catalog, allowed: tuple[str, ...], may: tuple[str, ...], may_not: tuple[str, ...]
) -> None:
    caller = holding(*allowed)
    for name in may:
        assert may_use(caller, name, known), name
        refuse_model(caller, name, known)
    for name in may_not:
        assert not may_use(caller, name, known), name
        with pytest.raises(PermissionDenied) as refusal:
            refuse_model(caller, name, known)
        assert refusal.value.param == "model"


def test_what_is_not_there_is_refused_in_the_words_for_what_is(known: Catalog) -> None:
    """So that nobody learns from it what else there is."""
    told = set()
    for name in ("fast", "none"):
        with pytest.raises(PermissionDenied) as refusal:
            refuse_model(holding("tiny"), name, known)
        told.add(refusal.value.message.replace(name, "…"))
    assert told == {"The API key may not use the model '…'."}


def test_a_name_as_long_as_a_book_is_not_repeated(known: Catalog) -> None:
    with pytest.raises(PermissionDenied) as refusal:
        refuse_model(holding("tiny"), "x" * 100_000, known)
    assert len(refusal.value.message) < 300


def test_of_an_empty_catalog_only_what_is_listed_may_be_asked_for() -> None:
    assert may_use(holding("tiny"), "tiny", catalog())
    assert not may_use(holding("tiny"), "small", catalog())


def test_a_key_can_do_no_more_than_its_owners_role_allows_today() -> None:
    all_of_them = key()
    assert permissions_of(all_of_them, user()) == frozenset(Permission)
    assert permissions_of(all_of_them, user("vic", Role.VIEWER)) == {
        Permission.INFERENCE,
        Permission.MODELS_READ,
    }
    little = key(permissions=frozenset({Permission.INFERENCE, Permission.LOGS_READ}))
    assert permissions_of(little, user()) == little.permissions
    assert permissions_of(little, user("vic", Role.VIEWER)) == {Permission.INFERENCE}


def test_responses_belong_to_the_key() -> None:
    assert holding("tiny").owner == "key-laptop"
    assert NOBODY.owner is None
