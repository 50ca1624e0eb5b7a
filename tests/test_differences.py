"""What the events between two states of the endpoints tell, and what they leave out."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.differences import MOST_NAMED, differences
from llmlb.events import (
    EndpointRegistered,
    EndpointRemoved,
    EndpointStatusChanged,
    EndpointUpdated,
    Event,
    ModelsChanged,
)
from llmlb.types import Capability, Endpoint, EndpointId, Engine, Mode, Model, Status
from tests.actors.conftest import A_ID, NOW, endpoint


def between(was: Endpoint, now: Endpoint) -> list[Event]:
    return list(differences({was.id: was}, {now.id: now}))


def test_a_new_endpoint_is_told_with_the_models_that_it_has_already() -> None:
    new = endpoint("a", "x", "y")
    assert list(differences({}, {A_ID: new})) == [
        EndpointRegistered(A_ID, "a", "http://a:1", Status.ONLINE),
        ModelsChanged(A_ID, "a", 2, added=("x", "y")),
    ]


def test_an_endpoint_without_models_is_new_and_no_more() -> None:
    new = replace(endpoint("a"), models=())
    assert [type(event) for event in differences({}, {A_ID: new})] == [EndpointRegistered]


def test_an_endpoint_that_is_gone_is_told_by_its_last_name() -> None:
    assert list(differences({A_ID: endpoint("a")}, {})) == [EndpointRemoved(A_ID, "a")]


def test_a_status_is_told_with_what_it_was_and_why() -> None:
    was = endpoint("a")
    now = replace(was, status=Status.ERROR, last_error="no answer", error_count=1)
    assert between(was, now) == [
        EndpointStatusChanged(A_ID, "a", Status.ONLINE, Status.ERROR, "no answer")
    ]


def test_models_that_came_went_and_changed_are_told_apart() -> None:
    was = endpoint("a", "stays", "goes", "learns")
    embeds = frozenset({Capability.EMBEDDINGS})
    now = replace(was, models=(Model("learns", embeds), Model("comes"), Model("stays")))
    assert between(was, now) == [
        ModelsChanged(A_ID, "a", 3, added=("comes",), removed=("goes",), updated=("learns",))
    ]


def test_models_in_another_order_are_no_news() -> None:
    was = endpoint("a", "x", "y")
    assert between(was, replace(was, models=was.models[::-1])) == []


def test_of_thousands_of_models_a_few_are_named_and_all_are_counted() -> None:
    was = endpoint("a", *(f"old-{n}" for n in range(2000)))
    now = endpoint("a", *(f"new-{n}" for n in range(3000)))
    (told,) = between(was, now)
    assert isinstance(told, ModelsChanged)
    assert (len(told.added), len(told.removed), told.model_count) == (MOST_NAMED, MOST_NAMED, 3000)


CHOSEN_OR_FOUND: dict[str, Any] = {
    "name": "b",
    "base_url": "http://b:1",
    "registered_at": NOW + timedelta(1),
    "mode": Mode.DRAINING,
    "device_info": "what it is",
    "device_note": "why not",
    "engine": Engine.VLLM,
    "api_key": "sk-1",
    "extra_headers": (("x-team", "7"),),
    "tls_verify": False,
    "ca_certificate": "PEM",
    "health_check_interval_s": 7.0,
    "inference_timeout_s": 7.0,
    "max_concurrency": 7,
    "engine_concurrency": 7,
    "model_aliases": (("x", "y"),),
    "model_capabilities": (("x", frozenset()),),
    "notes": "mine",
    "declared": True,
    "native_apis": frozenset({"messages"}),
}
SEEN_BY_EVERY_PROBE: dict[str, Any] = {
    "latency_ms": math.inf,
    "last_seen_at": NOW,
    "last_error": "again",
    "error_count": 7,
    "loaded_models": frozenset({"m"}),
    "probed": False,
    "synced": False,
}


@pytest.mark.parametrize(("field", "value"), CHOSEN_OR_FOUND.items())
def test_what_an_operator_chose_or_was_found_is_told_without_what_it_is(
    field: str, value: Any
) -> None:
    was = endpoint("a")
    now = replace(was, **{field: value})
    assert between(was, now) == [EndpointUpdated(A_ID, now.name, now.mode)]


@pytest.mark.parametrize(("field", "value"), SEEN_BY_EVERY_PROBE.items())
def test_what_every_probe_may_change_is_no_news(field: str, value: Any) -> None:
    assert between(endpoint("a"), replace(endpoint("a"), **{field: value})) == []


def test_no_field_of_an_endpoint_is_forgotten_here() -> None:
    told_otherwise = {"id", "status", "models"}
    named = {*CHOSEN_OR_FOUND, *SEEN_BY_EVERY_PROBE, *told_otherwise}
    assert named == {field.name for field in fields(Endpoint)}


SOME = st.builds(
    lambda name, models, status, mode: endpoint(name, *models, status=status, mode=mode),
    st.sampled_from("abc"),
    st.lists(st.sampled_from("xyz"), unique=True, min_size=1),
    st.sampled_from(Status),
    st.sampled_from(Mode),
)
STATES = st.lists(SOME).map(lambda found: {e.id: e for e in found})


@given(st.lists(STATES, min_size=1, max_size=4))
def test_whoever_takes_in_all_events_knows_how_things_are(
    states: list[dict[EndpointId, Endpoint]],
) -> None:
    known: dict[EndpointId, dict[str, Any]] = {}
    for before, after in zip([{}, *states], states, strict=False):
        for event in differences(before, after):
            take_in(known, event)
    assert known == {
        e.id: {"status": e.status, "models": {m.id for m in e.models}} for e in after.values()
    }


def take_in(known: dict[EndpointId, dict[str, Any]], event: Event) -> None:
    match event:
        case EndpointRegistered():
            assert event.endpoint_id not in known
            known[event.endpoint_id] = {"status": event.status, "models": set()}
        case EndpointRemoved():
            del known[event.endpoint_id]
        case EndpointStatusChanged():
            assert known[event.endpoint_id]["status"] is event.old_status
            known[event.endpoint_id]["status"] = event.new_status
        case ModelsChanged():
            models = known[event.endpoint_id]["models"]
            models -= set(event.removed)
            models |= set(event.added)
            assert len(models) == event.model_count
        case _:
            assert isinstance(event, EndpointUpdated)
