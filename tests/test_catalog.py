"""Whom a name reaches, and by which of their own ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from llmlb.catalog import Catalog
from llmlb.model_names import canonical, twin
from llmlb.types import Capability, Endpoint, EndpointId, Model, Status

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SEES = frozenset({Capability.IMAGE_UNDERSTANDING})


def endpoint(name: str, *models: str, **aliases: str) -> Endpoint:
    return Endpoint(
        EndpointId(f"id-{name}"),
        name,
        f"http://{name}:1",
        NOW,
        models=tuple(Model(m) for m in models),
        model_aliases=tuple(aliases.items()),
    )


def catalog(*endpoints: Endpoint, **aliases: tuple[str, ...]) -> Catalog:
    return Catalog.of({e.id: e for e in endpoints}, aliases=aliases)


def own_ids(found: Catalog, name: str) -> dict[str, str]:
    """What each endpoint that *name* reaches calls it itself."""
    return {e.name: found.own_id(e, name) for e in found.offering(name)}


# -- ids


def test_a_catalog_maps_models_to_the_endpoints_that_list_them_in_order_of_registration() -> None:
    b, a, c = endpoint("b", "m", "n"), endpoint("a", "m", "m"), endpoint("c")
    found = catalog(b, a, c)
    assert found.offering("m") == (b, a)
    assert found.offering("n") == (b,)
    assert found.offering("o") == ()
    assert list(found.by_model) == ["m", "n"]
    assert list(found.endpoints.values()) == [b, a, c]


def test_a_catalog_does_not_follow_the_table_it_was_made_of() -> None:
    table = {EndpointId("id-a"): endpoint("a", "m")}
    found = Catalog.of(table)
    table.clear()
    assert list(found.endpoints) == ["id-a"]


def test_a_server_that_has_moved_or_gone_is_not_there_any_more() -> None:
    a = endpoint("a", "m")
    assert catalog(a).still_has(a)
    assert catalog(replace(a, name="renamed", models=())).still_has(a)
    assert not catalog(replace(a, base_url="http://elsewhere:1")).still_has(a)
    assert not catalog(endpoint("b")).still_has(a)


def test_a_catalog_can_only_be_read() -> None:
    found = catalog()
    with pytest.raises(TypeError):
        found.endpoints[EndpointId("x")] = endpoint("x")  # type: ignore[index]  # the point
    with pytest.raises(TypeError):
        found.by_model["m"] = ()  # type: ignore[index]  # that is the point
    with pytest.raises(TypeError):
        found.reach("m").own_ids[EndpointId("x")] = "m"  # type: ignore[index]  # the point
    with pytest.raises(FrozenInstanceError):
        found.endpoints = {}  # type: ignore[misc]  # that is the point


def test_a_name_that_an_endpoint_does_not_have_is_never_its_own() -> None:
    a, b = endpoint("a", "m"), endpoint("b", "n")
    with pytest.raises(KeyError):
        catalog(a, b).own_id(b, "m")
    with pytest.raises(KeyError):
        catalog(a, b).own_id(a, "unknown")


# -- the operator's aliases


def test_an_alias_of_an_endpoint_reaches_that_endpoint_alone() -> None:
    found = catalog(endpoint("a", "org/m:7b", fast="org/m:7b"), endpoint("b", "org/m:7b"))
    assert own_ids(found, "fast") == {"a": "org/m:7b"}
    assert list(found.by_model) == ["org/m:7b", "fast"]


def test_an_alias_for_what_the_endpoint_does_not_list_reaches_nothing() -> None:
    found = catalog(endpoint("a", "m", fast="gone"))
    assert found.offering("fast") == ()
    assert list(found.by_model) == ["m"]


def test_an_exact_id_wins_over_an_alias_of_that_name() -> None:
    found = catalog(endpoint("a", "m", "n", m="n"), endpoint("b", "n", m="n"), m=("n",))
    assert own_ids(found, "m") == {"a": "m", "b": "n"}


def test_an_alias_of_the_settings_reaches_each_endpoint_by_the_first_name_it_has() -> None:
    a, b, c = endpoint("a", "x", "y"), endpoint("b", "y"), endpoint("c", "z")
    found = catalog(c, b, a, fast=("x", "y"), nowhere=("q",))
    assert own_ids(found, "fast") == {"a": "x", "b": "y"}
    assert found.offering("fast") == (b, a), "in order of registration"
    assert list(found.by_model) == ["z", "y", "x", "fast"]


def test_an_endpoints_own_alias_wins_over_that_of_the_settings() -> None:
    found = catalog(endpoint("a", "x", "y", fast="y"), fast=("x",))
    assert own_ids(found, "fast") == {"a": "y"}


def test_an_alias_of_the_settings_may_stand_for_an_alias_of_an_endpoint_but_not_of_another() -> (
    None
):
    found = catalog(endpoint("a", "m", local="m"), fast=("local",), faster=("fast",))
    assert own_ids(found, "fast") == {"a": "m"}
    assert found.offering("faster") == ()


# -- what is known to mean the same

HF, OLLAMA, STUDIO = "meta-llama/Llama-3.1-8B-Instruct", "llama3.1:8b", "meta-llama-3.1-8b-instruct"


@pytest.mark.parametrize(
    "asked", [HF, OLLAMA, STUDIO, HF.lower(), OLLAMA.upper(), "llama3.1", "llama3.1:latest"]
)
def test_one_name_reaches_every_engine_that_has_the_model(asked: str) -> None:
    endpoints = [
        endpoint("v", HF),
        endpoint("o", OLLAMA),
        endpoint("s", STUDIO),
        endpoint("x", "x"),
    ]
    found = catalog(*endpoints)
    assert own_ids(found, asked) == {"v": HF, "o": OLLAMA, "s": STUDIO}
    assert list(found.by_model) == [HF, OLLAMA, STUDIO, "x"], "only what is there is listed"


def test_the_exact_id_wins_over_what_means_the_same() -> None:
    found = catalog(endpoint("a", HF, OLLAMA, "llama3.1:latest"))
    for own_id in (HF, OLLAMA, "llama3.1:latest"):
        assert own_ids(found, own_id) == {"a": own_id}
    assert own_ids(found, "llama3.1") == {"a": "llama3.1:latest"}
    assert own_ids(found, STUDIO) == {"a": HF}, "of several the first that is listed"


def test_name_and_name_latest_are_one_in_both_directions() -> None:
    found = catalog(endpoint("a", "mine:latest"), endpoint("b", "mine"), endpoint("c", "mine:7b"))
    for asked in ("mine", "mine:latest"):
        assert own_ids(found, asked) == {"a": "mine:latest", "b": "mine"}
    assert found.offering("Mine") == ()


def test_aliases_reach_by_what_means_the_same_too() -> None:
    found = catalog(endpoint("s", STUDIO), endpoint("l", "f.gguf", **{OLLAMA: "f.gguf"}), ai=(HF,))
    assert own_ids(found, "ai") == {"s": STUDIO, "l": "f.gguf"}
    assert own_ids(found, HF) == {"s": STUDIO, "l": "f.gguf"}
    assert own_ids(found, "ai:latest") == {"s": STUDIO, "l": "f.gguf"}


# -- capabilities that are overruled


def test_a_model_is_shown_as_its_operator_says_beyond_doubt() -> None:
    a = endpoint("a", "m", "n")
    doubtful = Model("m", max_tokens=9, perhaps=frozenset({Capability.AUDIO_SPEECH}))
    a = replace(a, models=(doubtful, a.models[1]), model_capabilities=(("m", SEES), ("gone", SEES)))
    (shown,) = catalog(a).offering("m")
    assert shown.models == (Model("m", SEES, 9), Model("n"))
    assert a.models[0] is doubtful, "what was observed stays"
    assert hash(a) == hash(replace(a))


def test_an_endpoint_with_nothing_to_overrule_is_left_as_it_is() -> None:
    a = replace(endpoint("a", "m"), model_capabilities=(("gone", SEES),))
    assert a.as_overruled() is a


# -- invariants

NAMES = st.sampled_from(
    ["m", "m:latest", "n", "M", HF, HF.upper(), OLLAMA, STUDIO, "llama3.1", "qwen3:8b", "fast"]
)
ENDPOINTS = st.lists(
    st.tuples(st.lists(NAMES, max_size=4), st.dictionaries(NAMES, NAMES, max_size=3)), max_size=4
)
ALIASES = st.dictionaries(NAMES, st.lists(NAMES, min_size=1, max_size=3).map(tuple), max_size=3)


@effort(max_examples=300)
@given(ENDPOINTS, ALIASES, NAMES)
def test_own_ids_are_listed_and_every_listed_id_is_its_own(
    described: list[tuple[list[str], dict[str, str]]],
    aliases: Mapping[str, tuple[str, ...]],
    asked: str,
) -> None:
    endpoints = [endpoint(f"e{n}", *ids, **own) for n, (ids, own) in enumerate(described)]
    found = catalog(*endpoints, **aliases)
    for name in (*found.by_model, asked):
        offering = found.offering(name)
        assert [e for e in endpoints if e in offering] == list(offering), "by registration, once"
        for one in offering:
            assert one.offers(found.own_id(one, name))
    for one in endpoints:
        for model in one.models:
            assert found.own_id(one, model.id) == model.id
    for name, offering in found.by_model.items():
        assert offering
        assert offering == found.offering(name)
    reached = set(found.offering(asked))
    for one in endpoints:
        means_it = any(canonical(m.id) == canonical(asked) for m in one.models)
        assert not means_it or one in reached
        if one in reached and not means_it:
            names = {asked, twin(asked)}
            assert (
                names & {n for n, _ in one.model_aliases}
                or names & aliases.keys()
                or any(canonical(n) == canonical(asked) for n, _ in one.model_aliases)
            )


@given(ENDPOINTS, ALIASES, st.integers(0, 3), st.lists(NAMES, max_size=4))
def test_what_one_endpoint_was_observed_to_be_makes_the_same_catalog_as_all_of_them(
    described: list[tuple[list[str], dict[str, str]]],
    aliases: Mapping[str, tuple[str, ...]],
    which: int,
    lists_now: list[str],
) -> None:
    endpoints = [endpoint(f"e{n}", *ids, **own) for n, (ids, own) in enumerate(described)]
    known = catalog(*endpoints, **aliases)
    for one in endpoints[which : which + 1]:
        seen = replace(one, status=Status.ONLINE, last_seen_at=NOW)
        table = {e.id: e for e in endpoints} | {one.id: seen}
        assert known.with_observed(seen) == Catalog.of(table, aliases=aliases)
        other = endpoint(one.name, *lists_now, **dict(one.model_aliases))
        observed = known.with_observed(other)
        assert observed is None or observed == Catalog.of(table | {one.id: other}, aliases=aliases)
    assert known.with_observed(endpoint("unheard-of", "m")) is None
