"""A balancer that is stopped under load: nothing begun is lost, and nobody is left guessing."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import pytest

from tests.e2e.conftest import StartBalancer
from tests.e2e.fleet import Balancer, wait_for
from tests.e2e.stub import Stub

CLIENTS = 8
RESTARTS = 3


@pytest.fixture
def behind(start_balancer: StartBalancer, stub: Stub) -> Balancer:
    balancer = start_balancer(settings={"LLMLB_DRAIN_TIMEOUT_S": "1"})
    more = {"max_concurrency": 64}
    balancer.ask("POST", "/api/endpoints", {"name": "stub", "base_url": stub.url, **more})
    balancer.wait_until_online("stub")
    return balancer


@pytest.mark.parametrize(
    ("path", "last"),
    [
        ("/v1/chat/completions", 'data: {"error": {"message": "The balancer is shutting down'),
        ("/v1/messages", "event: error\n"),
    ],
)
def test_a_stream_that_outlasts_the_drain_ends_with_an_error_event(
    behind: Balancer, stub: Stub, path: str, last: str
) -> None:
    body = {"model": "drip", "max_tokens": 9, "stream": True, "messages": [], "system": "s"}
    body["messages"] = [{"role": "user", "content": "Hi"}]
    with ThreadPoolExecutor(1) as pool:
        stream = pool.submit(
            httpx.post, f"{behind.base_url}{path}", json=body, trust_env=False, timeout=20
        )
        wait_for(lambda: stub.calls and stub.calls[0].sent_bytes, "the first token")
        started = time.monotonic()
        assert behind.stop() == 0
        assert 0.9 < time.monotonic() - started < 5
        answer = stream.result()
    assert answer.status_code == 200
    final = answer.text.rstrip().rsplit("\n\n", 1)[-1]
    assert final.startswith(last), answer.text
    assert "[DONE]" not in answer.text


def test_a_request_that_has_said_nothing_is_told_to_come_back(behind: Balancer, stub: Stub) -> None:
    body = {"model": "prefill", "messages": []}
    with ThreadPoolExecutor(1) as pool:
        url = f"{behind.base_url}/v1/chat/completions"
        asked = pool.submit(httpx.post, url, json=body, trust_env=False, timeout=20)
        wait_for(lambda: stub.calls, "the call")
        assert behind.stop() == 0
        answer = asked.result()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "shutting_down")
    assert answer.headers["retry-after"] == "5"


def test_restarts_under_constant_load_lose_no_request_that_retries_on_503(
    behind: Balancer,
) -> None:
    """A client tries again if it is told to (503), or if it could not even connect."""
    told: Counter[object] = Counter()
    over = threading.Event()

    def client() -> None:
        with httpx.Client(base_url=behind.base_url, trust_env=False, timeout=20) as http:
            while not over.is_set():
                try:
                    body = {"model": "quick", "messages": []}
                    status = http.post("/v1/chat/completions", json=body).status_code
                    told[status] += 1
                    if status == 503:
                        time.sleep(0.5)  # the shortest that the SDKs wait
                except httpx.ConnectError:
                    told["unreachable"] += 1
                    time.sleep(0.05)
                except httpx.TransportError as error:
                    told[repr(error)] += 1

    def is_past(n_served: int) -> bool:
        return told[200] > n_served

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for one in clients:
        one.start()
    try:
        for _ in range(RESTARTS):
            enough = told[200] + 50
            wait_for(partial(is_past, enough), "requests to be served")
            assert behind.stop() == 0
            behind.start()
            behind.wait_until_online("stub")
    finally:
        over.set()
        for one in clients:
            one.join()
    assert set(told) <= {200, 503, "unreachable"}, told
    assert told[200] > RESTARTS * 50
