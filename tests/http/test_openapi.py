"""The running application answers as its description says, without a field too many."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from llmlb.http.openapi import shown
from llmlb.http.openapi.document import build_document
from tests.fakes.house import url
from tests.fakes.served import Served


async def test_the_description_is_served(served: Served) -> None:
    reply = await served("GET", "/openapi.json")

    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.json == build_document()


async def test_the_description_is_not_for_strangers(served: Served) -> None:
    reply = await served("GET", "/openapi.json", client=("192.168.1.7", 5))

    assert (reply.status, reply.error["code"]) == (403, "setup_required")


ANSWERS: list[tuple[str, str, Any, Any]] = [
    ("GET", "/health", None, shown.HealthShown),
    ("GET", "/ready", None, shown.ReadyShown),
    ("GET", "/v1/models", None, shown.ModelListShown),
    ("GET", "/v1/models/tiny", None, shown.ModelShown),
    ("GET", "/api/endpoints", None, shown.EndpointListShown),
    ("POST", "/api/endpoints", {"name": "b", "base_url": "http://b.lan"}, shown.EndpointShown),
    ("GET", "/api/endpoints/id-a", None, shown.EndpointWithModelsShown),
    ("PUT", "/api/endpoints/id-a", {"notes": "x"}, shown.EndpointShown),
    ("PATCH", "/api/endpoints/id-a", {"health_check_interval_secs": 99}, shown.EndpointShown),
    ("GET", "/api/endpoints/id-a/models", None, shown.EndpointModelsShown),
    ("POST", "/api/endpoints/id-a/test", None, shown.ProbeSucceededShown),
    ("POST", "/api/endpoints/id-gone/test", None, shown.ProbeFailedShown),
    ("POST", "/api/endpoints/id-a/sync", None, shown.SyncShown),
    ("POST", "/api/endpoints/id-a/enable", None, shown.EndpointShown),
    ("POST", "/api/endpoints/id-a/drain", None, shown.EndpointShown),
    ("POST", "/api/endpoints/id-a/disable", None, shown.EndpointShown),
]


@pytest.mark.parametrize(("method", "path", "body", "shape"), ANSWERS)
async def test_an_answer_has_the_fields_that_are_declared_and_no_others(
    served: Served, method: str, path: str, body: object, shape: type[BaseModel]
) -> None:
    served.upstream.get(
        url("a"),
        "/v0/system",
        {"device": {"device_type": "gpu", "gpu_devices": [{"name": "RTX", "memory_bytes": 1}]}},
    )
    await served.scene.endpoint("a", "tiny", extra_headers=(("x-team", "7"),))
    await served.scene.register("gone")
    sent = b"" if body is None else json.dumps(body).encode()

    reply = await served(method, path, sent)

    assert reply.status in (200, 201), reply.body
    assert reply.headers["content-type"] == "application/json"
    TypeAdapter(shape).validate_json(reply.body, strict=True)


def test_no_declared_answer_is_left_out() -> None:
    held = {shape for *_, shape in ANSWERS}
    inner = {
        shown.Shown,
        shown.GpuShown,
        shown.DeviceShown,
        shown.CircuitShown,
        shown.ListedModelShown,
        shown.EndpointInfoShown,
    }
    declared = {
        value
        for value in vars(shown).values()
        if isinstance(value, type) and issubclass(value, shown.Shown)
    }
    assert held | inner == declared


async def test_an_endpoint_that_is_removed_leaves_no_body(served: Served) -> None:
    await served.scene.endpoint("a")
    reply = await served("DELETE", "/api/endpoints/id-a")
    assert (reply.status, reply.body) == (204, b"")
