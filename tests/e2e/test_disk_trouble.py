"""A real balancer whose database file is locked, or removed, by somebody else."""

from __future__ import annotations

import sqlite3
import time

import httpx
import pytest

from tests.e2e.conftest import StartBalancer
from tests.e2e.fleet import Balancer, wait_for
from tests.e2e.stub import Stub

QUICK = {"model": "quick", "messages": []}
NEW = {"name": "new", "base_url": "http://127.0.0.1:9"}


@pytest.fixture
def behind(start_balancer: StartBalancer, stub: Stub) -> Balancer:
    balancer = start_balancer()
    balancer.ask("POST", "/api/endpoints", {"name": "stub", "base_url": stub.url})
    balancer.wait_until_online("stub")
    return balancer


def post(balancer: Balancer, path: str, body: object) -> httpx.Response:
    return httpx.post(f"{balancer.base_url}{path}", json=body, trust_env=False, timeout=30)


def is_ready(balancer: Balancer) -> bool:
    answer = httpx.get(f"{balancer.base_url}/ready", trust_env=False)
    if answer.status_code == 503:
        assert answer.json()["error"]["code"] == "store_unavailable"
    return answer.status_code == 200


def test_a_locked_database_holds_up_neither_requests_nor_operators_nor_the_stop(
    behind: Balancer,
) -> None:
    other = sqlite3.connect(behind.data_dir / "llmlb.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert post(behind, "/api/endpoints", NEW).status_code == 503
    assert not is_ready(behind)
    began_s = time.monotonic()
    for _ in range(5):
        assert post(behind, "/v1/chat/completions", QUICK).status_code == 200
        refused = post(behind, "/api/endpoints", NEW).json()["error"]
        assert (refused["type"], refused["code"]) == ("service_unavailable", "store_unavailable")
    assert time.monotonic() - began_s < 10, "one 5 s wait that had begun, and no more"

    other.execute("ROLLBACK")
    wait_for(lambda: is_ready(behind), "it to recover")
    assert post(behind, "/api/endpoints", NEW).status_code == 201
    time.sleep(1)  # what waited is written at once
    other.execute("BEGIN EXCLUSIVE")
    assert post(behind, "/v1/chat/completions", QUICK).status_code == 200
    wait_for(lambda: not is_ready(behind), "it to notice")
    began_s = time.monotonic()
    assert behind.stop() == 0
    assert time.monotonic() - began_s < 10
    other.close()

    behind.start()
    assert set(behind.endpoints()) == {"stub", "new"}
    assert behind.endpoints()["stub"]["total_requests"] >= 5


def test_a_removed_database_is_noticed_and_a_restart_makes_a_new_one(behind: Balancer) -> None:
    database = behind.data_dir / "llmlb.db"
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink()
    wait_for(lambda: not is_ready(behind), "it to notice", within_s=10)
    assert post(behind, "/v1/chat/completions", QUICK).status_code == 200
    assert post(behind, "/api/endpoints", NEW).status_code == 503
    assert set(behind.endpoints()) == {"stub"}, "what there was can still be read"
    assert not database.exists()
    assert behind.stop() == 0

    behind.start()
    assert is_ready(behind)
    assert behind.endpoints() == {}
    assert post(behind, "/api/endpoints", NEW).status_code == 201
