"""A benchmark of a real llama.cpp, and a client that comes meanwhile."""

from __future__ import annotations

from typing import Any

from tests.e2e.conftest import StartBalancer
from tests.e2e.fleet import Fleet, wait_for

ROUTE = "/api/benchmarks/tps"


def test_two_real_endpoints_are_measured_while_a_client_is_served(
    fleet: Fleet, start_balancer: StartBalancer
) -> None:
    balancer = start_balancer()
    ids = balancer.register_all(fleet.s1, fleet.s2)
    balancer.wait_until_online(*ids)
    plan = {"model": fleet.s1.model, "total_requests": 8, "concurrency": 4, "max_tokens": 32}
    run_id = balancer.ask("POST", ROUTE, plan)["run_id"]
    hello = {"model": fleet.s1.model, "messages": [{"role": "user", "content": "Hi"}]}
    assert balancer.ask("POST", "/v1/chat/completions", {**hello, "max_tokens": 4})["choices"]

    def run() -> dict[str, Any]:
        shown: dict[str, Any] = balancer.ask("GET", f"{ROUTE}/{run_id}")
        return shown

    wait_for(lambda: run()["status"] != "running", "the benchmark to end")
    over = run()
    assert (over["status"], over["error"]) == ("completed", None)
    assert over["result"]["measured_requests"] == 8
    for figures in over["result"]["per_endpoint"]:
        assert figures["measured_requests"] == 4
        assert 0 < figures["p50_tps"] <= figures["p95_tps"]
    counted = [shown["total_requests"] for shown in balancer.endpoints().values()]
    assert sum(counted) == 1, "the client's"
