"""Which endpoint answers a request that builds on an earlier one, and who is told what instead."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.catalog import Catalog
from llmlb.errors import InvalidRequest, LbError, NotFound, ResponseStateUnavailable
from llmlb.http.openai.stored import endpoint_for, endpoint_holding
from llmlb.types import Endpoint, EndpointId, Mode, Status, Whereabouts

NOW = datetime(2026, 1, 2, tzinfo=UTC)
A = Endpoint(
    id=EndpointId("id-a"),
    name="a",
    base_url="http://a.lan",
    registered_at=NOW,
    status=Status.ONLINE,
    probed=True,
    synced=True,
)
B = replace(A, id=EndpointId("id-b"), name="b", base_url="http://b.lan")

WHEREABOUTS = {
    "resp_a": Whereabouts(A.id, None, NOW),
    "conv_a": Whereabouts(A.id, None, NOW),
    "resp_b": Whereabouts(B.id, None, NOW),
    "resp_of_key": Whereabouts(A.id, "key-1", NOW),
}


def catalog_of(*endpoints: Endpoint) -> Catalog:
    return Catalog.of({endpoint.id: endpoint for endpoint in endpoints})


def chosen(owner: str | None = None, on: Endpoint = A, **asked: Any) -> EndpointId | None:
    catalog = catalog_of(on, B)
    return endpoint_for(asked, owner=owner, whereabouts=WHEREABOUTS, catalog=catalog)


def held(response_id: str, owner: str | None = None, on: Endpoint = A) -> EndpointId:
    catalog = catalog_of(on, B)
    return endpoint_holding(response_id, owner=owner, whereabouts=WHEREABOUTS, catalog=catalog)


@pytest.mark.parametrize("asked", [{}, {"previous_response_id": None, "conversation": None}])
def test_what_names_nothing_can_go_anywhere(asked: dict[str, Any]) -> None:
    assert chosen(model="m", **asked) is None


@pytest.mark.parametrize(
    "asked",
    [
        {"previous_response_id": "resp_a"},
        {"conversation": "conv_a"},
        {"conversation": {"id": "conv_a"}},
        {"previous_response_id": "resp_a", "conversation": {"id": "conv_a"}},
    ],
)
def test_it_goes_to_the_endpoint_that_keeps_what_it_names(asked: dict[str, Any]) -> None:
    assert chosen(**asked) == A.id


@pytest.mark.parametrize("owner", ["key-2", None])
def test_another_owners_response_is_as_unknown_as_any(owner: str | None) -> None:
    assert chosen(owner="key-1", previous_response_id="resp_of_key") == A.id
    with pytest.raises(NotFound) as refused:
        chosen(owner=owner, previous_response_id="resp_of_key")
    assert refused.value.param == "previous_response_id"
    with pytest.raises(NotFound) as unknown:
        chosen(owner=owner, previous_response_id="resp_of_kez")
    assert str(unknown.value) == str(refused.value).replace("resp_of_key", "resp_of_kez")


def test_what_was_made_without_a_key_is_not_for_keys() -> None:
    with pytest.raises(NotFound):
        chosen(owner="key-1", previous_response_id="resp_a")


def test_an_unknown_conversation_is_called_one_and_its_id_is_not_repeated_at_length() -> None:
    with pytest.raises(NotFound, match="no conversation 'x") as refused:
        chosen(conversation="x" * 10_000)
    assert refused.value.param == "conversation"
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("previous_response_id", ""),
        ("previous_response_id", 7),
        ("previous_response_id", False),
        ("previous_response_id", {"id": "resp_a"}),
        ("conversation", ""),
        ("conversation", []),
        ("conversation", {}),
        ("conversation", {"id": None}),
        ("conversation", {"id": 7}),
    ],
)
def test_a_field_that_names_nothing_is_refused_by_its_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"'{field}' must be an id") as refused:
        chosen(**{field: value})
    assert refused.value.param == field


def test_two_things_on_different_endpoints_cannot_be_had_together() -> None:
    with pytest.raises(InvalidRequest, match="different endpoints") as refused:
        chosen(previous_response_id="resp_b", conversation="conv_a")
    assert refused.value.param == "conversation"


@pytest.mark.parametrize(
    ("on", "reason"),
    [
        (replace(A, id=EndpointId("id-new")), "has been removed"),
        (replace(A, mode=Mode.DISABLED), "is disabled"),
        (replace(A, status=Status.OFFLINE), "cannot be reached"),
        (replace(A, status=Status.ERROR), "cannot be reached"),
    ],
)
def test_an_endpoint_that_is_not_there_is_said_to_be_away(on: Endpoint, reason: str) -> None:
    with pytest.raises(ResponseStateUnavailable, match=reason):
        chosen(on=on, previous_response_id="resp_a")
    with pytest.raises(ResponseStateUnavailable, match=reason):
        held("resp_a", on=on)


@pytest.mark.parametrize(
    "on",
    [
        replace(A, status=Status.PENDING, probed=False, synced=False),
        replace(A, status=Status.OFFLINE, probed=False),
    ],
)
def test_one_that_nobody_has_probed_yet_may_turn_out_to_be_there(on: Endpoint) -> None:
    assert chosen(on=on, previous_response_id="resp_a") == A.id


def test_one_that_is_draining_is_asked_about_what_it_made_but_for_nothing_new() -> None:
    draining = replace(A, mode=Mode.DRAINING)
    assert held("resp_a", on=draining) == A.id
    with pytest.raises(ResponseStateUnavailable, match="takes no new requests"):
        chosen(on=draining, previous_response_id="resp_a")


def test_an_unknown_response_is_not_found() -> None:
    assert held("resp_of_key", "key-1") == A.id
    with pytest.raises(NotFound) as refused:
        held("resp_of_key", "key-2")
    assert refused.value.param == "response_id"


names: st.SearchStrategy[Any] = (
    st.sampled_from([*WHEREABOUTS, "", "unknown"]) | st.none() | st.integers() | st.just([])
)
asked_fields = st.fixed_dictionaries(
    {},
    optional={
        "previous_response_id": names,
        "conversation": names | st.fixed_dictionaries({}, optional={"id": names}),
    },
)
states = st.builds(replace, st.just(A), mode=st.sampled_from(Mode), status=st.sampled_from(Status))


@given(asked_fields, st.sampled_from([None, "key-1"]), states)
def test_any_request_gets_an_endpoint_that_is_there_or_a_clear_error(
    asked: dict[str, Any], owner: str | None, on: Endpoint
) -> None:
    refused, found = None, None
    try:
        found = chosen(owner, on, **asked)
    except LbError as error:
        refused = error
    if refused is None:
        named = [value for value in asked.values() if value is not None]
        assert (found is None) == (not named)
        assert found != A.id or on.mode is Mode.ENABLED
    else:
        assert refused.http_status() in (400, 404, 503)
        assert refused.http_status() == 503 or refused.param in asked
