"""Benchmarks as an operator asks for them, on the whole application."""

from __future__ import annotations

import json

import trio
from pydantic import TypeAdapter

from llmlb.http.openapi.jobs import BenchmarkBegunShown, BenchmarkListShown, BenchmarkShown
from tests.fakes.asgi import Request
from tests.fakes.house import url
from tests.fakes.openai import finish, says, usage_alone
from tests.fakes.served import Served
from tests.fakes.upstream import Answer, SeenCall, hangs, sse_answer

ROUTE = "/api/benchmarks/tps"


async def answers(_: SeenCall) -> Answer:
    await trio.lowlevel.checkpoint()
    return sse_answer(1.0, says("1"), 2.0, finish("length"), usage_alone(5, 20))


async def begin(served: Served, **fields: object) -> Request:
    return await served.post(ROUTE, json.dumps({"model": "tiny", **fields}).encode())


async def test_a_run_is_begun_watched_and_read(served: Served) -> None:
    for name in "ab":
        await served.scene.endpoint(name)
        served.scene.on(name, answers)
    begun = await begin(served, total_requests=4, concurrency=2)
    assert begun.status == 202
    TypeAdapter(BenchmarkBegunShown).validate_json(begun.body, strict=True)
    path = f"{ROUTE}/{begun.json['run_id']}"

    await trio.sleep(4)
    half = await served("GET", path)
    TypeAdapter(BenchmarkShown).validate_json(half.body, strict=True)
    assert (half.json["status"], half.json["progress"]) == ("running", 0.5)
    assert half.json["result"]["mean_tps"] == 9.5

    await trio.sleep(4)
    over = (await served("GET", path)).json
    assert (over["status"], over["error"]) == ("completed", None)
    assert over["request"]["max_tokens"] == 128, "as the older product has it"
    figures = {
        "successful_requests": 2,
        "measured_requests": 2,
        "success_rate": 1.0,
        "mean_tps": 9.5,
        "p50_tps": 9.5,
        "p95_tps": 9.5,
    }
    assert over["result"]["per_endpoint"] == [
        {"endpoint_id": f"id-{name}", "endpoint_name": name, "requests": 2, **figures}
        for name in "ab"
    ]
    assert (over["result"]["source"], over["result"]["total_requests"]) == ("benchmark", 4)

    later = (await begin(served, total_requests=1)).json["run_id"]
    listed = await served("GET", ROUTE, query_string=b"per_page=1")
    TypeAdapter(BenchmarkListShown).validate_json(listed.body, strict=True)
    assert [run["run_id"] for run in listed.json["runs"]] == [later]
    assert listed.json["total"] == 2


async def test_a_run_that_is_cancelled_takes_no_lease_any_more(served: Served) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", hangs)
    path = f"{ROUTE}/{(await begin(served)).json['run_id']}"
    await trio.sleep(1)
    assert served.scene.leases
    reply = await served("DELETE", path)
    assert (reply.status, reply.json["status"]) == (200, "cancelled")
    await served.scene.settle()
    assert not served.scene.leases
    for method in ("GET", "DELETE"):
        assert (await served(method, f"{ROUTE}/none")).status == 404


async def test_only_what_is_served_can_be_measured(served: Served) -> None:
    await served.scene.endpoint("a")
    assert (await begin(served, model="none")).error["code"] == "model_not_found"
    served.upstream.down(url("a"))
    for _ in range(2):
        await served.scene.probed(served.scene.known("a"))
    reply = await begin(served)
    assert (reply.status, reply.error["code"]) == (503, "no_capable_endpoints")


async def test_a_plan_that_cannot_be_is_refused(served: Served) -> None:
    reply = await begin(served, total_requests=0)
    assert (reply.status, reply.error["param"]) == (400, "total_requests")
