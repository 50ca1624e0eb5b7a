"""The model list that clients see, merged over the endpoints."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from llmlb.catalog import Catalog
from llmlb.http.openai.models import model_item, model_list
from llmlb.types import Capability, Endpoint, EndpointId, Mode, Model, Status
from tests.fakes.upstream import make_endpoint


def online(name: str, *models: Model, **fields: Any) -> Endpoint:
    fields = {"status": Status.ONLINE, "probed": True, "synced": True, **fields}
    return make_endpoint(f"http://{name}:1", models=models, **fields)


def catalog(*endpoints: Endpoint) -> Catalog:
    return Catalog.of({endpoint.id: endpoint for endpoint in endpoints})


TINY = Model("tiny", max_tokens=4096)


def test_a_model_as_clients_see_it() -> None:
    a = online("a", TINY, registered_at=datetime(2026, 1, 2, tzinfo=UTC))

    assert model_list(catalog(a)) == [
        {
            "id": "tiny",
            "object": "model",
            "created": 1767312000,
            "owned_by": "llmlb",
            "ready": True,
            "max_tokens": 4096,
            "capabilities": {
                "chat_completion": True,
                "embeddings": False,
                "image_generation": False,
                "audio_transcription": False,
                "audio_speech": False,
                "image_understanding": False,
            },
            "endpoint_ids": [a.id],
            "aliases": [],
            "alias_of": [],
        }
    ]


def test_a_model_of_several_endpoints_is_one_with_what_all_can_hold_and_any_can_do() -> None:
    seeing = frozenset({Capability.CHAT_COMPLETION, Capability.IMAGE_UNDERSTANDING})
    a = online("a", Model("tiny", max_tokens=8192))
    b = online("b", Model("tiny", seeing, max_tokens=2048), Model("big"))
    c = online("c", Model("tiny"), Model("tiny", max_tokens=1))

    big, tiny = model_list(catalog(a, b, c))

    assert big["id"] == "big"
    assert big["max_tokens"] is None
    assert tiny["endpoint_ids"] == [a.id, b.id, c.id]
    assert tiny["max_tokens"] == 2048
    assert tiny["capabilities"]["image_understanding"] is True
    assert tiny["created"] == int(a.registered_at.timestamp())


def test_only_what_could_be_served_now_is_listed() -> None:
    a = online("a", TINY)
    hidden = [
        replace(a, id=EndpointId("1"), status=Status.OFFLINE),
        replace(a, id=EndpointId("2"), status=Status.ERROR),
        replace(a, id=EndpointId("3"), status=Status.PENDING),
        replace(a, id=EndpointId("4"), mode=Mode.DRAINING),
        replace(a, id=EndpointId("5"), mode=Mode.DISABLED),
        replace(a, id=EndpointId("6"), synced=False),
        replace(a, id=EndpointId("7"), probed=False),
    ]
    assert model_list(catalog(*hidden)) == []
    [listed] = model_list(catalog(*hidden, a))
    assert listed["endpoint_ids"] == [a.id]


def test_aliases_are_listed_with_what_they_stand_for() -> None:
    a = online("a", Model("org/x:7b"), Model("y"), model_aliases=(("talk", "y"),))
    b = online("b", Model("z", max_tokens=5))
    found = Catalog.of(
        {e.id: e for e in (a, b)}, aliases={"fast": ("org/x:7b", "z"), "none": ("gone",)}
    )
    listed = {item["id"]: item for item in model_list(found)}
    assert {name: (item["aliases"], item["alias_of"]) for name, item in listed.items()} == {
        "fast": ([], ["org/x:7b", "z"]),
        "org/x:7b": (["fast"], []),
        "talk": ([], ["y"]),
        "y": (["talk"], []),
        "z": (["fast"], []),
    }
    assert listed["fast"]["endpoint_ids"] == [a.id, b.id]
    assert listed["fast"]["max_tokens"] == 5
    assert model_item(found, "fast") == listed["fast"]


def test_one_model_under_two_names_is_shown_under_each() -> None:
    hugging_face = "meta-llama/Llama-3.1-8B-Instruct"
    a, b = online("a", Model("llama3.1:8b")), online("b", Model(hugging_face))
    found = catalog(a, b)
    first, second = model_list(found)
    assert [first["id"], second["id"]] == ["llama3.1:8b", hugging_face]
    for item in (first, second):
        assert item["endpoint_ids"] == [a.id, b.id]
        assert {"llama3.1", "meta-llama-3.1-8b-instruct"} < set(item["aliases"])
        assert item["alias_of"] == []
    assert hugging_face in first["aliases"]
    unlisted = model_item(found, "llama3.1:latest")
    assert unlisted is not None
    assert unlisted["alias_of"] == ["llama3.1:8b", hugging_face]
    assert hugging_face in unlisted["aliases"]


def test_capabilities_are_those_that_the_operator_says() -> None:
    speech = frozenset({Capability.AUDIO_SPEECH})
    (item,) = model_list(catalog(online("a", TINY, model_capabilities=(("tiny", speech),))))
    assert [name for name, can in item["capabilities"].items() if can] == ["audio_speech"]


def test_a_model_that_is_not_ready_can_still_be_asked_for() -> None:
    a = online("a", TINY, status=Status.OFFLINE)

    item = model_item(catalog(a), "tiny")

    assert item is not None
    assert (item["ready"], item["endpoint_ids"], item["max_tokens"]) == (False, [], 4096)
    assert model_item(catalog(a), "Tiny") is None
    assert model_item(catalog(), "tiny") is None


def test_whoever_may_not_ask_for_a_name_does_not_see_it() -> None:
    a = online("a", Model("llama3.1:8b"), TINY, Model("org/tiny"))
    b = online("b", Model("big"))
    known = Catalog.of({e.id: e for e in (a, b)}, aliases={"fast": ("tiny",), "any": ("tiny",)})

    def allowed(name: str) -> bool:
        return name in {"tiny", "any", "big"}

    assert [item["id"] for item in model_list(known, allowed)] == ["any", "big", "tiny"]
    one = {item["id"]: item for item in model_list(known, allowed)}
    assert one["tiny"]["aliases"] == ["any"]
    assert one["any"]["alias_of"] == ["tiny"]
    assert model_item(known, "fast", allowed) is None
    assert model_item(known, "tiny", allowed) == one["tiny"]
    assert model_list(known, lambda name: name == "any")[0]["alias_of"] == []
