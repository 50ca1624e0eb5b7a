"""Downloads and deletions as an operator asks for them, on the whole application."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from pydantic import TypeAdapter

from llmlb.http.openapi.jobs import DownloadListShown, DownloadShown, ModelInfoShown
from tests.fakes.asgi import Request
from tests.fakes.house import url
from tests.fakes.served import Served
from tests.fakes.upstream import Answer, hangs

ONE = "/api/endpoints/id-desk"
ENTRY = {"name": "big:7b", "size": 4_000, "details": {"parameter_size": "7B"}}


def lines(*pieces: dict[str, Any] | float) -> list[bytes | float]:
    return [p if isinstance(p, float) else json.dumps(p).encode() + b"\n" for p in pieces]


def layer(there: int, total: int = 10) -> dict[str, Any]:
    return {"status": "pulling x", "digest": "x", "completed": there, "total": total}


def shows(served: Served, *models: str) -> None:
    """What the Ollama on the desk has."""
    served.scene.lists("desk", *models)
    served.upstream.get(
        url("desk"), "/api/tags", {"models": [{**ENTRY, "name": m} for m in models]}
    )


@pytest.fixture
async def ollama(served: Served) -> Served:
    shows(served, "small:1b")
    await served.scene.register("desk")
    pieces = lines({"status": "pulling manifest"}, 1.0, layer(5), 10.0, layer(10))
    end = lines({"status": "success"})
    served.upstream.on(url("desk"), "POST", "/api/pull", Answer(200, {}, [*pieces, *end]))
    return served


async def post(served: Served, path: str, body: object) -> Request:
    return await served.post(path, json.dumps(body).encode())


async def test_a_download_goes_on_without_its_page_and_its_model_is_served(ollama: Served) -> None:
    begun = await post(ollama, f"{ONE}/download", {"model": "big:7b"})
    assert begun.status == 202
    TypeAdapter(DownloadShown).validate_json(begun.body, strict=True)
    assert (begun.json["status"], begun.json["progress"]) == ("pending", 0)
    again = await post(ollama, f"{ONE}/download", {"model": "big:7b"})
    assert (again.status, again.json["task_id"]) == (202, begun.json["task_id"])

    await trio.sleep(5)
    seen = await ollama("GET", f"{ONE}/download/progress")
    TypeAdapter(DownloadListShown).validate_json(seen.body, strict=True)
    (task,) = seen.json["tasks"]
    assert (task["status"], task["progress"], task["downloaded_bytes"]) == ("downloading", 0.5, 5)

    shows(ollama, "small:1b", "big:7b")
    await trio.sleep(15)
    (task,) = (await ollama("GET", f"{ONE}/download/progress")).json["tasks"]
    assert (task["status"], task["progress"], task["error_message"]) == ("completed", 1, None)
    assert task["finished_at"]
    assert "big:7b" in ollama.app.house.registry.catalog.by_model


async def test_a_download_that_is_cancelled_stops_at_once(ollama: Served) -> None:
    ollama.upstream.on(url("desk"), "POST", "/api/pull", hangs)
    task_id = (await post(ollama, f"{ONE}/download", {"model": "big:7b"})).json["task_id"]
    await trio.sleep(1)
    for _ in range(2):
        cancelled = await ollama("DELETE", f"{ONE}/download/{task_id}")
        assert (cancelled.status, cancelled.json["status"]) == (200, "cancelled")
    await ollama.scene.settle()
    (call,) = ollama.upstream.seen("/api/pull")
    assert call.closed
    await ollama.scene.endpoint("other")
    for path in (f"{ONE}/download/other", f"/api/endpoints/id-other/download/{task_id}"):
        assert (await ollama("DELETE", path)).status == 404


async def test_the_drain_ends_a_download_and_says_so(ollama: Served) -> None:
    ollama.upstream.on(url("desk"), "POST", "/api/pull", hangs)
    await post(ollama, f"{ONE}/download", {"model": "big:7b"})
    await ollama.app.house.drain()
    (task,) = (await ollama("GET", f"{ONE}/download/progress")).json["tasks"]
    assert (task["status"], task["error_message"]) == ("failed", "The balancer was stopped.")
    refused = await post(ollama, f"{ONE}/download", {"model": "big:7b"})
    assert (refused.status, refused.error["code"]) == (503, "shutting_down")


async def test_an_endpoint_that_is_removed_ends_its_download(ollama: Served) -> None:
    ollama.upstream.on(url("desk"), "POST", "/api/pull", hangs)
    task_id = (await post(ollama, f"{ONE}/download", {"model": "big:7b"})).json["task_id"]
    assert (await ollama("DELETE", ONE)).status == 204
    await ollama.scene.settle()
    assert ollama.app.house.jobs.downloads[task_id].status == "failed"
    assert not ollama.upstream.open_calls


async def test_a_lm_studio_that_cannot_stop_says_so(served: Served) -> None:
    entry = {"key": "m", "publisher": "p", "architecture": "a", "loaded_instances": []}
    served.scene.lists("desk", "m")
    served.upstream.get(url("desk"), "/api/v1/models", {"models": [entry]})
    await served.scene.register("desk")
    served.upstream.on(url("desk"), "POST", "/api/v1/models/download", hangs)
    task_id = (await post(served, f"{ONE}/download", {"model": "a/b"})).json["task_id"]
    cancelled = await served("DELETE", f"{ONE}/download/{task_id}")
    assert "cannot stop a download" in cancelled.json["error_message"]


async def test_a_model_that_is_deleted_is_gone_when_that_is_answered(ollama: Served) -> None:
    async def gone(_: object) -> Answer:
        await trio.lowlevel.checkpoint()
        shows(ollama)
        return Answer(200)

    ollama.upstream.on(url("desk"), "DELETE", "/api/delete", gone)
    reply = await post(ollama, f"{ONE}/models/delete", {"model": "small:1b"})
    assert (reply.status, reply.body) == (204, b"")
    assert not ollama.scene.known("desk").models


async def test_a_model_is_deleted_though_nobody_can_look(ollama: Served) -> None:
    async def gone(_: object) -> Answer:
        await trio.lowlevel.checkpoint()
        ollama.upstream.down(url("desk"))
        return Answer(200)

    ollama.upstream.on(url("desk"), "DELETE", "/api/delete", gone)
    assert (await post(ollama, f"{ONE}/models/delete", {"model": "small:1b"})).status == 204


async def test_what_is_known_of_a_model(ollama: Served) -> None:
    model = "hf.co/owner/name:Q4"
    shows(ollama, model)
    await ollama.scene.probed(ollama.scene.known("desk"))
    reply = await ollama("GET", f"{ONE}/models/{model}/info")
    TypeAdapter(ModelInfoShown).validate_json(reply.body, strict=True)
    shown = reply.json
    assert (shown["model_id"], shown["size_bytes"], shown["parameters"]) == (model, 4_000, "7B")
    assert (await ollama("GET", f"{ONE}/models/none/info")).error["param"] == "model"


async def test_what_cannot_be_is_refused(ollama: Served) -> None:
    for path, body, status, param in (
        ("download", {}, 400, "model"),
        ("download", {"model": "m", "quantization": "Q4_K_M"}, 400, "quantization"),
        ("models/delete", {"model": 5}, 400, "model"),
        ("models/delete", {"model": "no"}, 404, "model"),
    ):
        reply = await post(ollama, f"{ONE}/{path}", body)
        assert (reply.status, reply.error["param"]) == (status, param)


async def test_other_endpoints_are_refused(served: Served) -> None:
    await served.scene.endpoint("desk")
    for path in ("download", "models/delete"):
        reply = await post(served, f"{ONE}/{path}", {"model": "m"})
        assert (reply.status, reply.error["code"]) == (400, "unsupported_capability")
        assert (await post(served, f"/api/endpoints/none/{path}", {"model": "m"})).status == 404
