"""Real servers behind relays that cut, reset, stall and trickle: what a client sees of it.

Before the first content, nothing. After it: one error event, and no end that says all is well.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.fleet import Balancer, Fleet, wait_for
from tests.e2e.relay import Fault, Harm, Relay, relay_to

HEAD_BYTES = 60
"""Less than the head of any answer."""

ANSWER_LIMIT_S = 3
CLIENTS = 6

SETTINGS = {
    "LLMLB_FIRST_TOKEN_TIMEOUT_S": str(ANSWER_LIMIT_S),
    "LLMLB_TOKEN_GAP_TIMEOUT_S": str(ANSWER_LIMIT_S),
}


@dataclass(frozen=True, slots=True)
class Chaos:
    """One model of two endpoints, each behind a relay."""

    balancer: Balancer
    one: Relay
    other: Relay


@pytest.fixture(scope="module")
def running(session_fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chaos]:
    session_fleet.ensure_running()
    servers = (session_fleet.s1, session_fleet.s2)
    directory: Path = tmp_path_factory.mktemp("chaos")
    with ExitStack() as stack:
        one, other = (stack.enter_context(relay_to(server.base_url)) for server in servers)
        balancer = stack.enter_context(Balancer(directory, settings=SETTINGS))
        yield Chaos(balancer, one, other)


@pytest.fixture
def chaos(running: Chaos) -> Iterator[Chaos]:
    """Both endpoints newly registered, so that nothing is known against them, and online."""
    balancer = running.balancer
    for name, relay in (("one", running.one), ("other", running.other)):
        relay.misbehave(())
        body = {
            "name": name,
            "base_url": relay.url,
            "inference_timeout_secs": ANSWER_LIMIT_S,
            "max_concurrency": CLIENTS,
        }
        balancer.ask("POST", "/api/endpoints", body)
    balancer.wait_until_online("one", "other")
    balancer.wait_for_models("tiny-s")
    yield running
    wait_for(lambda: _idle(balancer), "all leases to be back")
    for endpoint in balancer.endpoints().values():
        balancer.ask("DELETE", f"/api/endpoints/{endpoint['id']}")


def _idle(balancer: Balancer) -> bool:
    return not any(endpoint["inflight"] for endpoint in balancer.endpoints().values())


# -- what is asked, and how an answer that is whole looks


@dataclass(frozen=True, slots=True)
class Dialect:
    """One route, and by what its streams are known to have ended well, or badly."""

    path: str
    body: dict[str, Any]
    end: bytes
    error: bytes
    limit: str = "max_tokens"

    def ask(self, http: httpx.Client, *, stream: bool, tokens: int) -> Seen:
        body = {"model": "tiny-s", "stream": stream, self.limit: tokens, **self.body}
        try:
            answer = http.post(self.path, json=body)
        except httpx.TransportError as error:
            return Seen(self, stream, 0, repr(error).encode())
        return Seen(self, stream, answer.status_code, answer.content)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client got."""

    dialect: Dialect
    stream: bool
    status: int
    content: bytes

    @property
    def whole(self) -> bool:
        """It is a complete answer, and nothing else."""
        if self.status != 200:
            return False
        if self.stream:
            return self.ends_well == 1 and self.errors == 0
        return not json.loads(self.content).get("error")

    @property
    def ends_well(self) -> int:
        return self.content.count(self.dialect.end)

    @property
    def errors(self) -> int:
        return self.content.count(self.dialect.error)

    def __str__(self) -> str:
        return f"{self.dialect.path} {self.status} {self.content[-600:]!r}"


HELLO = [{"role": "user", "content": "hello"}]
DIALECTS = (
    Dialect(
        "/v1/chat/completions",
        {"messages": HELLO, "ignore_eos": True},
        end=b"data: [DONE]",
        error=b'data: {"error"',
    ),
    Dialect(
        "/v1/responses",
        {"input": "hello", "ignore_eos": True},
        end=b"event: response.completed",
        error=b"event: error",
        limit="max_output_tokens",
    ),
    Dialect(
        "/v1/messages",
        {"messages": HELLO, "ignore_eos": True},
        end=b"event: message_stop",
        error=b"event: error",
    ),
)


def ask_all(
    balancer: Balancer, times: int, *, tokens: int, streams: tuple[bool, ...] = (True, False)
) -> list[Seen]:
    """Every dialect, streamed or plain or both, so many times, several at once."""
    kinds = [(dialect, stream) for dialect in DIALECTS for stream in streams]
    with (
        httpx.Client(base_url=balancer.base_url, trust_env=False, timeout=30) as http,
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        asked = [
            pool.submit(dialect.ask, http, stream=stream, tokens=tokens)
            for _ in range(times)
            for dialect, stream in kinds
        ]
        return [one.result() for one in asked]


# -- before the commit point

UNSEEN = (
    Fault(Harm.CUT),
    Fault(Harm.RESET),
    Fault(Harm.HALF_CLOSE),
    Fault(Harm.CUT, after_bytes=HEAD_BYTES),
    Fault(Harm.RESET, after_bytes=HEAD_BYTES),
    Fault(Harm.HALF_CLOSE, after_bytes=HEAD_BYTES),
    Fault(Harm.STALL, after_bytes=HEAD_BYTES),
    Fault(Harm.CUT, after_events=1),
    Fault(Harm.RESET, after_events=1),
    Fault(Harm.HALF_CLOSE, after_events=1),
)
"""Of streams, the first event opens an answer in each dialect, and says nothing yet."""

MID_BODY = (
    Fault(Harm.CUT, after_bytes=400),
    Fault(Harm.RESET, after_bytes=400),
    Fault(Harm.HALF_CLOSE, after_bytes=400),
)
"""Of a plain answer, all can be taken back."""

SLOW = (Fault(Harm.DELAY), Fault(Harm.TRICKLE))


@pytest.mark.parametrize("fault", UNSEEN, ids=str)
def test_before_the_first_content_no_client_sees_a_fault(chaos: Chaos, fault: Fault) -> None:
    chaos.one.misbehave([fault])
    seen = ask_all(chaos.balancer, 2, tokens=3)
    assert len(seen) == 12
    assert [str(one) for one in seen if not one.whole] == []
    assert chaos.one.struck, "an endpoint that is not asked shows nothing"


@pytest.mark.parametrize("fault", MID_BODY, ids=str)
def test_a_plain_answer_that_breaks_off_is_got_from_another_endpoint(
    chaos: Chaos, fault: Fault
) -> None:
    chaos.one.misbehave([fault])
    seen = ask_all(chaos.balancer, 3, tokens=3, streams=(False,))
    assert [str(one) for one in seen if not one.whole] == []
    assert chaos.one.struck, "an endpoint that is not asked shows nothing"


@pytest.mark.parametrize("fault", SLOW, ids=str)
def test_an_answer_that_is_only_slow_comes_whole(chaos: Chaos, fault: Fault) -> None:
    for relay in (chaos.one, chaos.other):
        relay.misbehave([fault])
    seen = ask_all(chaos.balancer, 2, tokens=3)
    assert [str(one) for one in seen if not one.whole] == []
    assert chaos.one.struck + chaos.other.struck == len(seen)


def test_an_endpoint_that_refuses_connections_costs_no_request(chaos: Chaos) -> None:
    chaos.one.refuse()
    try:
        seen = ask_all(chaos.balancer, 2, tokens=3)
    finally:
        chaos.one.listen()
    assert [str(one) for one in seen if not one.whole] == []


@pytest.mark.parametrize("seed", range(3))
def test_any_mixture_of_faults_costs_no_request_while_one_endpoint_is_well(
    chaos: Chaos, seed: int
) -> None:
    rng = random.Random(seed)
    quick = [fault for fault in UNSEEN if fault.harm is not Harm.STALL]
    bad, good = rng.sample([chaos.one, chaos.other], 2)
    bad.misbehave(rng.choices(quick, k=20))
    good.misbehave(SLOW)
    seen = ask_all(chaos.balancer, 5, tokens=3)
    assert len(seen) == 30
    assert [str(one) for one in seen if not one.whole] == []
    assert bad.struck


# -- after the commit point

BROKEN = (
    Fault(Harm.CUT, after_events=8),
    Fault(Harm.RESET, after_events=8),
    Fault(Harm.HALF_CLOSE, after_events=8),
    Fault(Harm.STALL, after_events=8),
)


@pytest.mark.parametrize("fault", BROKEN, ids=str)
def test_after_the_first_content_a_stream_ends_with_one_error_and_no_false_end(
    chaos: Chaos, fault: Fault
) -> None:
    for relay in (chaos.one, chaos.other):
        relay.misbehave([fault])
    seen = ask_all(chaos.balancer, 2, tokens=40, streams=(True,))
    assert len(seen) == 6
    assert {one.status for one in seen} == {200}
    ends = {(one.dialect.path, one.ends_well, one.errors) for one in seen}
    assert ends == {(dialect.path, 0, 1) for dialect in DIALECTS}, [str(one) for one in seen]
    for one in seen:
        last = one.content.rstrip().rpartition(b"\n\n")[2]
        assert one.dialect.error in last, f"the error is the last event: {one}"


@pytest.mark.parametrize("harm", [Harm.DELAY, Harm.TRICKLE])
def test_a_stream_that_only_falters_comes_whole(chaos: Chaos, harm: Harm) -> None:
    for relay in (chaos.one, chaos.other):
        relay.misbehave([Fault(harm, after_events=8)])
    seen = ask_all(chaos.balancer, 2, tokens=40, streams=(True,))
    assert [str(one) for one in seen if not one.whole] == []
    assert chaos.one.struck + chaos.other.struck == len(seen)


def test_after_all_that_everything_is_served_again(chaos: Chaos) -> None:
    seen = ask_all(chaos.balancer, 4, tokens=3)
    assert [str(one) for one in seen if not one.whole] == []
    assert chaos.balancer.child.exit_code() is None
