"""A simulated endpoint speaks HTTP as its script says, well or ill."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import trio

from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.http.upstream.pooled_client import PooledUpstreamClient
from tests.fakes.house import url
from tests.fakes.openai import chat
from tests.fakes.upstream import make_endpoint
from tests.simulation.endpoint import SimEndpoint
from tests.simulation.faults import befall, recover
from tests.simulation.ledger import Account, Ledger
from tests.simulation.network import SimNetwork
from tests.simulation.parts import Event, Lie, Make, Manner, Trouble, UsageHabit, Wish
from tests.simulation.trace import Trace

MAKE = Make(
    name="e0",
    models=("tiny",),
    slots=1,
    capacity=2,
    connect_s=0.0,
    prefill_cps=100.0,
    decode_tps=10.0,
    load_s=5.0,
    unload_after_s=60.0,
    keepalive_s=2.0,
    usage=UsageHabit.IF_ASKED,
    interval_s=10,
    inference_timeout_s=30,
)
WISH = Wish(0.0, "r1", "tiny", True, 3, 100, Manner.PATIENT, 0.1, 1, None)


@dataclass
class Stage:
    endpoint: SimEndpoint
    client: PooledUpstreamClient
    ledger: Ledger
    trace: Trace

    async def ask(self, *, stream: bool = False, **fields: Any) -> tuple[int, bytes]:
        """Status and body of the answer to 100 characters and 3 tokens."""
        body = chat(
            stream=stream,
            max_tokens=3,
            messages=[{"role": "user", "content": "x" * 100}],
            **fields,
        )
        async with self.client.call(
            make_endpoint(url("e0")),
            "POST",
            "/v1/chat/completions",
            headers=[("content-type", "application/json"), ("x-request-id", "r1")],
            body=body,
        ) as answer:
            return answer.status, b"".join([chunk async for chunk in answer.chunks()])

    async def suffer(self, trouble: Trouble, for_s: float, **more: Any) -> None:
        said = {"lie": Lie.CUT, "share": 1.0, "factor": 2.0, **more}
        event = Event(trio.current_time(), "e0", trouble, for_s, **said)
        await befall({"e0": self.endpoint}, [event], self.trace)


@asynccontextmanager
async def stage(make: Make = MAKE) -> AsyncIterator[Stage]:
    ledger, trace = Ledger(), Trace()
    ledger.opened(Account(WISH, 0.0))
    endpoint = SimEndpoint(make, random.Random(1), ledger, trace)
    async with trio.open_nursery() as nursery:
        network = SimNetwork(nursery, {"e0": endpoint})
        client = PooledUpstreamClient(instance_id="lb", connect_timeout_s=3.0, network=network)
        yield Stage(endpoint, client, ledger, trace)
        await client.aclose()
        nursery.cancel_scope.cancel()


async def test_a_cold_request_pays_for_the_load_and_the_next_one_does_not() -> None:
    async with stage() as it:
        for loads_s in (5.0, 0.0):
            started_s = trio.current_time()
            status, body = await it.ask()
            assert trio.current_time() - started_s == pytest.approx(loads_s + 1.0 + 0.3)
            assert status == 200
        said = json.loads(body)
        assert said["choices"][0]["message"]["content"] == "e0.2.0;e0.2.1;e0.2.2;"
        assert said["usage"]["total_tokens"] == 29
        assert [call.told is not None for call in it.ledger.calls] == [True, True]


@pytest.mark.parametrize(
    ("usage", "asked", "told"),
    [
        (UsageHabit.IF_ASKED, True, True),
        (UsageHabit.IF_ASKED, False, False),
        (UsageHabit.NEVER, True, False),
    ],
)
async def test_a_stream_tells_its_usage_as_its_habit_is(
    usage: UsageHabit, asked: bool, told: bool
) -> None:
    async with stage(replace(MAKE, usage=usage)) as it:
        options = {"stream_options": {"include_usage": True}} if asked else {}
        _, body = await it.ask(stream=True, **options)
        assert body.endswith(b"data: [DONE]\n\n")
        assert (b'"usage"' in body) is told
        assert (it.ledger.calls[0].told is not None) is told


async def test_an_endpoint_that_refuses_to_be_asked_for_usage_names_it() -> None:
    async with stage(replace(MAKE, usage=UsageHabit.REFUSES)) as it:
        status, body = await it.ask(stream=True, stream_options={"include_usage": True})
        assert status == 400
        assert b"stream_options" in body
        assert (await it.ask(stream=True))[0] == 200


async def test_who_finds_no_slot_waits_inside() -> None:
    async with stage() as it:
        await it.ask()
        started_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(it.ask)
        assert trio.current_time() - started_s == pytest.approx(3 * 1.3)


ANSWERED = {
    Lie.FAULT_500: 500,
    Lie.FAULT_503: 503,
    Lie.RATE_LIMITED: 429,
    Lie.ERROR_OBJECT: 200,
    Lie.EMPTY: 200,
    Lie.WRONG_TYPE: 200,
    Lie.ERROR_EVENT: 200,
}


@pytest.mark.parametrize("lie", ANSWERED)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_lie_comes_at_once_and_holds_no_token(lie: Lie, stream: bool) -> None:
    async with stage() as it:
        it.endpoint.condition.lie = lie
        status, body = await it.ask(stream=stream)
        assert status == ANSWERED[lie]
        assert b"e0." not in body
        assert trio.current_time() < 0.1


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_is_cut_short_ends_in_a_fault(stream: bool) -> None:
    async with stage() as it:
        it.endpoint.condition.lie = Lie.CUT
        with pytest.raises(UpstreamFault) as caught:
            await it.ask(stream=stream)
        assert caught.value.kind is FaultKind.DISCONNECTED


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_stalls_goes_on_until_the_client_leaves(stream: bool) -> None:
    async with stage() as it:
        it.endpoint.condition.lie = Lie.STALL
        with trio.move_on_after(500):
            await it.ask(stream=stream)
        assert trio.current_time() == 500
        await trio.testing.wait_all_tasks_blocked()
        assert not it.ledger.calls[0].open


@pytest.mark.parametrize("trouble", [Trouble.CRASH, Trouble.RESTART, Trouble.FLAP])
async def test_who_is_down_breaks_what_runs_and_refuses_what_comes(trouble: Trouble) -> None:
    async with stage() as it, trio.open_nursery() as nursery:
        for kind, begins_s in ((FaultKind.DISCONNECTED, 0.0), (FaultKind.UNREACHABLE, 1.1)):

            async def expect(kind: FaultKind = kind, begins_s: float = begins_s) -> None:
                await trio.sleep(begins_s)
                with pytest.raises(UpstreamFault) as caught:
                    await it.ask()
                assert caught.value.kind is kind

            nursery.start_soon(expect)
        await trio.sleep(1)
        await it.suffer(trouble, 2.0)
        assert (await it.ask())[0] == 200


async def test_a_partition_is_felt_by_connecting_and_healed_for_what_runs() -> None:
    async with stage() as it, trio.open_nursery() as nursery:

        async def cut_off() -> None:
            with pytest.raises(UpstreamFault, match="3 s"):
                await it.ask()

        nursery.start_soon(it.ask)
        await trio.sleep(1)
        nursery.start_soon(it.suffer, Trouble.PARTITION, 50.0)
        await trio.sleep(1)
        nursery.start_soon(cut_off)
        await trio.sleep(20)
        assert it.ledger.calls[0].open
        await trio.sleep(31)
        assert not it.ledger.calls[0].open


async def test_a_hanging_endpoint_accepts_and_answers_when_it_comes_to_itself() -> None:
    async with stage() as it, trio.open_nursery() as nursery:
        nursery.start_soon(it.suffer, Trouble.HANG, 50.0)
        await trio.sleep(1)
        assert (await it.ask())[0] == 200
        assert trio.current_time() > 50


async def test_a_slow_endpoint_takes_so_many_times_as_long() -> None:
    async with stage() as it:
        it.endpoint.condition.slowness = 10.0
        await it.ask()
        assert trio.current_time() == pytest.approx(63)
        recover(it.endpoint)
        await it.ask()
        assert trio.current_time() == pytest.approx(63 + 1.3)


async def test_an_idle_connection_is_closed_from_within() -> None:
    async with stage() as it:
        await it.ask()
        assert len(it.endpoint._lives) == 1
        await trio.sleep(MAKE.keepalive_s + 0.1)
        assert not it.endpoint._lives
