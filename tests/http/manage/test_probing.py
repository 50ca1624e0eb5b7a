from __future__ import annotations

from typing import Any

import pytest
import trio

from llmlb.errors import ProbeFailed
from llmlb.types import EndpointId, Model
from tests.fakes.surveyor import NoAnswer

URL = "http://gpu.lan:8000"


async def test_a_test_that_succeeds_says_what_it_found(api: Any) -> None:
    endpoint = await api.registered()
    answer = await api("POST", f"/endpoints/{endpoint['id']}/test")
    assert answer.status == 200
    assert answer.json.pop("latency_ms") >= 0
    assert answer.json == {"success": True, "models_found": 1, "endpoint_info": {"model_count": 1}}


async def test_a_test_brings_an_endpoint_back(api: Any) -> None:
    api.surveyor.failures[URL] = NoAnswer("connection refused")
    endpoint = await api.registered()
    assert (await api.shown(endpoint))["status"] == "offline"
    del api.surveyor.failures[URL]
    assert (await api("POST", f"/endpoints/{endpoint['id']}/test")).json["success"] is True
    assert (await api.shown(endpoint))["status"] == "online"


async def test_a_test_that_fails_is_an_answer_and_shows_in_the_status(api: Any) -> None:
    endpoint = await api.registered()
    api.surveyor.failures[URL] = NoAnswer("connection refused")
    answer = await api("POST", f"/endpoints/{endpoint['id']}/test")
    assert answer.status == 200
    assert answer.json == {"success": False, "error": "connection refused"}
    assert (await api.shown(endpoint))["status"] == "error"


async def test_a_test_does_not_wait_for_ever(api: Any, autojump_clock: Any) -> None:
    endpoint = await api.registered()
    api.surveyor.answer_after_s = 3600
    answer = await api("POST", f"/endpoints/{endpoint['id']}/test")
    assert answer.json == {"success": False, "error": "It did not answer within 10 s."}


async def test_a_sync_says_what_came_and_went(api: Any) -> None:
    api.surveyor.models[URL] = (Model("a"), Model("b"), Model("c"))
    endpoint = await api.registered()
    api.surveyor.models[URL] = (Model("b"), Model("c", max_tokens=512), Model("d"), Model("e"))
    answer = await api("POST", f"/endpoints/{endpoint['id']}/sync")
    assert answer.json == {
        "synced_models": ["b", "c", "d", "e"],
        "added": 2,
        "removed": 1,
        "updated": 1,
    }
    assert [m["model_id"] for m in (await api.shown(endpoint))["models"]] == ["b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (NoAnswer("connection refused"), "upstream_unreachable"),
        (ProbeFailed("the answer is not JSON"), "upstream_error"),
    ],
)
async def test_a_sync_that_fails_says_why(api: Any, failure: ProbeFailed, code: str) -> None:
    endpoint = await api.registered()
    api.surveyor.failures[URL] = failure
    answer = await api("POST", f"/endpoints/{endpoint['id']}/sync")
    assert (answer.status, answer.error["code"]) == (502, code)
    assert str(failure) in answer.error["message"]


async def test_a_sync_of_a_stuck_endpoint_is_a_timeout(api: Any, autojump_clock: Any) -> None:
    endpoint = await api.registered()
    api.surveyor.answer_after_s, api.surveyor.survey_after_s = 5, 3600
    answer = await api("POST", f"/endpoints/{endpoint['id']}/sync")
    assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")


@pytest.mark.parametrize(("what", "status"), [("change", 409), ("removal", 404)])
async def test_a_probe_that_is_overtaken_says_so(
    api: Any, nursery: trio.Nursery, autojump_clock: Any, what: str, status: int
) -> None:
    endpoint = await api.registered()
    api.surveyor.answer_after_s = 5
    answers = []

    async def sync() -> None:
        answers.append(await api("POST", f"/endpoints/{endpoint['id']}/sync"))

    nursery.start_soon(sync)
    await trio.testing.wait_all_tasks_blocked()
    if what == "change":
        await api("PUT", f"/endpoints/{endpoint['id']}", {"api_key": "new"})
    else:
        await api("DELETE", f"/endpoints/{endpoint['id']}")
    await trio.testing.wait_all_tasks_blocked()
    assert [a.status for a in answers] == [status]


async def test_a_registry_that_does_not_answer_is_not_waited_for(
    api: Any, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = await api.registered()

    async def stuck(endpoint_id: EndpointId) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(api.house.registry, "remove", stuck)
    answer = await api("DELETE", f"/endpoints/{endpoint['id']}")
    assert (answer.status, answer.error["code"]) == (503, "store_unavailable")
