from __future__ import annotations

import pytest

from tests.fakes.openai import chat, completion
from tests.fakes.served import Served
from tests.fakes.upstream import json_answer

pytestmark = pytest.mark.usefixtures("autojump_clock")


@pytest.fixture
async def two_endpoints(served: Served) -> Served:
    for name in "ab":
        await served.scene.endpoint(name)
        served.scene.on(name, json_answer(completion(name)))
    return served


@pytest.mark.parametrize("prefix", ["/api", "/v0"])
@pytest.mark.parametrize("endpoint_id", ["id-a", "id-b", "ID-B"])
async def test_the_endpoint_in_the_path_answers(
    two_endpoints: Served, prefix: str, endpoint_id: str
) -> None:
    path = f"{prefix}/endpoints/{endpoint_id}/chat/completions"
    for _ in range(2):
        reply = await two_endpoints.post(path, chat())
        assert (reply.status, reply.json) == (200, completion(endpoint_id[-1].lower()))
    asked = {(call.endpoint.id, call.path) for call in two_endpoints.scene.requests()}
    assert asked == {(endpoint_id.lower(), "/v1/chat/completions")}


async def test_an_endpoint_that_is_not_there_is_404(two_endpoints: Served) -> None:
    reply = await two_endpoints.post("/api/endpoints/id-c/chat/completions", chat())
    assert (reply.status, reply.error["code"]) == (404, "not_found")
    assert not two_endpoints.scene.requests()
