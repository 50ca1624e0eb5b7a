"""Who is refused, who is passed over, and who gets the benefit of the doubt."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from llmlb.errors import UnsupportedCapability
from llmlb.http.capability import endpoints_without
from llmlb.types import Capability, Endpoint, EndpointId, Model
from tests.fakes.upstream import make_endpoint

SEES = Model("m", frozenset({Capability.CHAT_COMPLETION, Capability.IMAGE_UNDERSTANDING}))
BLIND = Model("m")
UNKNOWN = Model("m", perhaps=frozenset({Capability.IMAGE_UNDERSTANDING}))


def endpoint(model: Model, *, synced: bool = True) -> Endpoint:
    made = make_endpoint("http://e.test")
    return replace(made, id=EndpointId(str(uuid4())), models=(model,), synced=synced)


def without(*offering: Endpoint) -> frozenset[str]:
    own_ids = {e.id: "m" for e in offering}
    return frozenset(endpoints_without(Capability.IMAGE_UNDERSTANDING, "m", offering, own_ids))


def test_a_model_that_is_blind_everywhere_is_refused() -> None:
    with pytest.raises(UnsupportedCapability, match="'m' does not support image underst") as caught:
        without(endpoint(BLIND), endpoint(BLIND))
    error = caught.value
    assert error.openai().as_json()["error"] == {
        "message": "The model 'm' does not support image understanding.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "unsupported_capability",
    }
    assert error.http_status() == 400


def test_endpoints_that_cannot_are_passed_over_for_those_that_can() -> None:
    blind, sees = endpoint(BLIND), endpoint(SEES)
    assert without(blind, sees) == {blind.id}


@pytest.mark.parametrize(
    "doubtful", [endpoint(UNKNOWN), endpoint(BLIND, synced=False), endpoint(Model("other"))]
)
def test_what_nobody_knows_passes(doubtful: Endpoint) -> None:
    assert without(doubtful) == frozenset()


def test_a_model_is_judged_by_what_its_endpoint_calls_it() -> None:
    blind, sees = endpoint(Model("x")), endpoint(replace(SEES, id="y"))
    own_ids = {blind.id: "x", sees.id: "y"}
    found = endpoints_without(Capability.IMAGE_UNDERSTANDING, "m", (blind, sees), own_ids)
    assert found == {blind.id}


def test_a_model_of_nobody_is_not_refused_here() -> None:
    assert without() == frozenset()
