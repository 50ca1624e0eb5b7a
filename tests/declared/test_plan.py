from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from llmlb.declared.plan import Addition, Adoption, Removal, Renaming, Step, reconcile
from llmlb.endpoint_form import EndpointForm
from llmlb.types import (
    Capability,
    DeviceInfo,
    DeviceType,
    Endpoint,
    EndpointId,
    Engine,
    Mode,
    Model,
    Status,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def form(name: str, base_url: str, **fields: object) -> EndpointForm:
    return EndpointForm.model_validate({"name": name, "base_url": base_url, **fields})


def known(name: str, base_url: str, **fields: object) -> Endpoint:
    plain = Endpoint(EndpointId(f"id of {name}"), name, base_url, NOW)
    return replace(plain, **fields)  # type: ignore[arg-type]


def steps_for(declared: list[EndpointForm], stored: list[Endpoint]) -> list[Step]:
    return reconcile(declared, stored, at=NOW, default_interval_s=30)


def taken(stored: list[Endpoint], steps: list[Step]) -> list[Endpoint]:
    """The endpoints after *steps*, as a database with its constraints would have them."""
    by_id = {e.id: e for e in stored}
    for step in steps:
        match step:
            case Removal(endpoint):
                del by_id[endpoint.id]
            case Addition(endpoint):
                assert endpoint.id not in by_id
                by_id[endpoint.id] = endpoint
            case Renaming(endpoint) | Adoption(endpoint):
                assert endpoint.id in by_id
                by_id[endpoint.id] = endpoint
        assert len({e.name for e in by_id.values()}) == len(by_id)
        assert len({e.base_url for e in by_id.values()}) == len(by_id)
    return list(by_id.values())


def test_a_new_one_is_added_with_an_id_that_its_url_gives() -> None:
    (step,) = steps_for([form("a", "http://a", max_concurrency=3)], [])
    assert isinstance(step, Addition)
    assert step.endpoint.declared
    assert step.endpoint.max_concurrency == 3
    assert step.endpoint.registered_at == NOW
    (again,) = steps_for([form("b", "http://a")], [])
    assert again.endpoint.id == step.endpoint.id


def test_the_one_with_its_url_is_adopted_with_all_it_has() -> None:
    device = DeviceInfo(DeviceType.CPU)
    before = known(
        "old",
        "http://a",
        models=(Model("m"),),
        notes="mine",
        mode=Mode.DRAINING,
        max_concurrency=9,
        status=Status.ONLINE,
        engine=Engine.VLLM,
        device_info=device,
        inference_timeout_s=7,
    )
    (step,) = steps_for([form("a", "http://a", health_check_interval_secs=60)], [before])
    assert step == Adoption(
        replace(
            before,
            name="a",
            declared=True,
            max_concurrency=None,
            health_check_interval_s=60,
            inference_timeout_s=120,
        ),
        before,
    )


def test_names_and_capabilities_are_those_of_the_file() -> None:
    sight = frozenset({Capability.IMAGE_UNDERSTANDING})
    before = known("a", "http://a", model_aliases=(("x", "y"),), model_capabilities=(("y", sight),))
    (forgotten,) = steps_for([form("a", "http://a")], [before])
    assert isinstance(forgotten, Adoption)
    assert (forgotten.endpoint.model_aliases, forgotten.endpoint.model_capabilities) == ((), ())
    said = {"model_aliases": {"f": "m"}, "model_capabilities": {"m": ["image_understanding"]}}
    (adopted,) = steps_for([form("a", "http://a", **said)], [before])
    assert isinstance(adopted, Adoption)
    assert adopted.endpoint.model_aliases == (("f", "m"),)
    assert adopted.endpoint.model_capabilities == (("m", sight),)


def test_whom_to_trust_is_said_by_the_file() -> None:
    before = known("a", "https://a", tls_verify=False, ca_certificate="PEM")
    (forgotten,) = steps_for([form("a", "https://a")], [before])
    assert isinstance(forgotten, Adoption)
    assert (forgotten.endpoint.tls_verify, forgotten.endpoint.ca_certificate) == (True, None)
    (adopted,) = steps_for([form("a", "https://a", tls_verify=False)], [before])
    assert not adopted.endpoint.tls_verify


def test_notes_in_the_file_win() -> None:
    (step,) = steps_for([form("a", "http://a", notes="new")], [known("a", "http://a", notes="x")])
    assert step.endpoint.notes == "new"


def test_the_one_with_its_name_is_adopted_and_moves() -> None:
    before = known(
        "a",
        "http://old",
        models=(Model("m"),),
        status=Status.ONLINE,
        engine=Engine.VLLM,
        engine_concurrency=64,
        device_note="It does not tell.",
        last_error="x",
        error_count=2,
    )
    (step,) = steps_for([form("a", "http://new")], [before])
    assert step == Adoption(
        Endpoint(
            before.id,
            "a",
            "http://new",
            NOW,
            models=before.models,
            declared=True,
        ),
        before,
    )


def test_a_new_key_makes_it_another_server() -> None:
    before = known("a", "http://a", declared=True, status=Status.ONLINE, engine=Engine.VLLM)
    (step,) = steps_for([form("a", "http://a", api_key="sk")], [before])
    assert (step.endpoint.status, step.endpoint.engine) == (Status.PENDING, None)


def test_the_url_counts_more_than_the_name() -> None:
    by_url, by_name = known("x", "http://a"), known("a", "http://b")
    renaming, adoption = steps_for([form("a", "http://a")], [by_url, by_name])
    assert renaming == Renaming(replace(by_name, name="a (2)"), by_name)
    assert (adoption.endpoint.id, adoption.endpoint.name) == (by_url.id, "a")


def test_a_longest_name_can_be_given_up_too() -> None:
    name = "n" * 200
    stored = [
        known("x", "http://a"),
        known(name, "http://b"),
        known("n" * 196 + " (2)", "http://c"),
    ]
    renaming, _ = steps_for([form(name, "http://a")], stored)
    assert renaming.endpoint.name == "n" * 196 + " (3)"


def test_one_that_is_not_declared_any_more_is_removed() -> None:
    mine, theirs = known("a", "http://a", declared=True), known("b", "http://b")
    assert steps_for([], [mine, theirs]) == [Removal(mine)]


def test_two_can_swap_their_names() -> None:
    stored = [known("a", "http://n1", declared=True), known("b", "http://n2", declared=True)]
    after = taken(stored, steps_for([form("b", "http://n1"), form("a", "http://n2")], stored))
    assert {(e.id, e.name) for e in after} == {("id of a", "b"), ("id of b", "a")}


def test_the_id_of_a_url_that_was_left_is_not_given_twice() -> None:
    first = taken([], steps_for([form("a", "http://n1")], []))
    moved = taken(first, steps_for([form("a", "http://n2")], first))
    after = taken(moved, steps_for([form("a", "http://n2"), form("b", "http://n1")], moved))
    assert len({e.id for e in after}) == 2


NAMES, URLS = st.sampled_from("abcd"), st.sampled_from([f"http://n{n}" for n in range(4)])
FORMS = st.lists(
    st.tuples(NAMES, URLS, st.none() | st.just("sk")),
    unique_by=(lambda t: t[0], lambda t: t[1]),
    max_size=4,
).map(lambda rows: [form(name, url, api_key=key) for name, url, key in rows])
KNOWN = st.lists(
    st.tuples(NAMES | st.just("a (2)"), URLS, st.booleans()),
    unique_by=(lambda t: t[0], lambda t: t[1]),
    max_size=4,
).map(lambda rows: [known(name, url, declared=declared) for name, url, declared in rows])


@given(FORMS, KNOWN, st.integers(0, 12))
@example(
    [form("b", "http://n1"), form("a", "http://n2")],
    [known("a", "http://n1"), known("b", "http://n2")],
    1,
)
def test_from_wherever_it_is_broken_off_it_arrives_at_the_same_end(
    declared: list[EndpointForm], stored: list[Endpoint], done: int
) -> None:
    steps = steps_for(declared, stored)
    after = taken(stored, steps)
    halfway = taken(stored, steps[:done])
    resumed = taken(halfway, steps_for(declared, halfway))
    assert {e.id: e for e in resumed} == {e.id: e for e in after}
    assert steps_for(declared, after) == []


@given(FORMS, KNOWN)
def test_in_the_end_exactly_the_declared_ones_are_declared(
    declared: list[EndpointForm], stored: list[Endpoint]
) -> None:
    after = taken(stored, steps_for(declared, stored))
    marked = {(e.name, e.base_url, e.api_key) for e in after if e.declared}
    assert marked == {(f.name, f.base_url, f.api_key) for f in declared}
    kept = {e.id for e in stored if not e.declared}
    assert kept <= {e.id for e in after}
