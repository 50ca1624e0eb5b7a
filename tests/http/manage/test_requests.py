"""Why a request went where it went, asked for by the id that its client was told."""

from __future__ import annotations

from llmlb.http.openapi.requests import ExplanationShown
from llmlb.recent import KEPT_REQUESTS
from tests.fakes.openai import chat, completion
from tests.fakes.served import Served
from tests.fakes.upstream import json_answer, refused


async def test_the_decision_of_a_request_is_shown_by_its_id(served: Served) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", json_answer(completion()))
    answered = await served.post("/v1/chat/completions", chat())
    request_id = answered.headers["x-request-id"]

    reply = await served("GET", f"/api/requests/{request_id}/decision")

    assert reply.status == 200
    shown = ExplanationShown.model_validate_json(reply.body)
    assert (shown.request_id, shown.status) == (request_id, 200)
    [decision] = shown.decisions
    assert decision.why == "It is the only endpoint of the model."
    assert answered.headers["x-llmlb-endpoint"] == shown.endpoint_name == "a"
    assert [attempt.endpoint_id for attempt in shown.attempts] == [decision.endpoint_id]


async def test_an_older_request_is_told_from_the_history_alike(served: Served) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", refused())
    answered = await served.post("/v1/chat/completions", chat())
    path = f"/api/requests/{answered.headers['x-request-id']}/decision"
    newer = (await served("GET", path)).json
    await served.app.house.history.flush()
    for number in range(KEPT_REQUESTS):
        await served.post("/v1/chat/completions", b"{", headers={"x-request-id": f"r{number}"})

    reply = await served("GET", path)

    assert reply.status == 200
    ExplanationShown.model_validate_json(reply.body)
    rounded = ("arrived_at", "waited_ms", "duration_ms", "time_to_first_token_ms")
    assert {k: v for k, v in reply.json.items() if k not in rounded} == {
        k: v for k, v in newer.items() if k not in rounded
    }
    assert reply.json["attempts"][0]["reason"]


async def test_an_id_that_nobody_knows(served: Served) -> None:
    reply = await served("GET", "/api/requests/never/decision")
    assert reply.status == 404
