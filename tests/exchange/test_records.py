"""What is recorded of each client request: one record, whatever becomes of it, and no lie in it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import trio

from llmlb.accounting import Outcome
from llmlb.accounts import KeyLimits
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.records import CLIENT_LEFT, Exclusion, RequestRecord
from llmlb.types import Api, Mode
from tests.fakes.accounts import bearer, key, moved_in, user
from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import CHAT, EMBEDDINGS, Scene, url
from tests.fakes.openai import chat, completion, finish, role, says, usage_alone
from tests.fakes.upstream import (
    disconnected,
    hangs,
    json_answer,
    refused,
    replies,
    sse_answer,
)


def record(scene: Scene, request_id: str = "req-1") -> RequestRecord:
    found = scene.house.recent.find(request_id)
    assert found is not None
    return found


def records(scene: Scene) -> list[RequestRecord]:
    return list(scene.house.recent.newest_first())


async def test_a_plain_answer(scene: Scene) -> None:
    a = await scene.endpoint("a")
    scene.on("a", replies(json_answer(completion()), after_s=2))
    body = chat()

    reply = await scene.ask(body)

    kept = record(scene)
    assert (kept.outcome, kept.status, kept.error_code) == (Outcome.SUCCEEDED, 200, None)
    assert (kept.api, kept.path, kept.stream) == (CHAT, "/v1/chat/completions", False)
    assert (kept.model, kept.served_model, kept.known_model) == ("tiny", "tiny", True)
    assert (kept.endpoint_id, kept.endpoint_name, kept.only) == (a.id, "a", False)
    assert (kept.request_bytes, kept.response_bytes) == (len(body), reply.n_bytes)
    assert kept.duration_ms == pytest.approx(2000)
    assert (kept.finished_at - kept.arrived_at).total_seconds() == pytest.approx(2)
    assert kept.waited_ms == 0
    [attempt] = kept.attempts
    assert attempt.outcome is Outcome.SUCCEEDED
    assert attempt.at_ms == 0
    assert attempt.duration_ms == pytest.approx(2000)
    assert kept.tokens_per_s is None, "of a plain answer nobody knows when its first token was"


async def test_a_stream_and_its_rate(scene: Scene) -> None:
    await scene.endpoint("a")
    answer = sse_answer(role(), 1, says("A"), 2, says("B"), finish(), usage_alone(7, 11))
    scene.on("a", answer)

    await scene.stream()

    kept = record(scene)
    assert kept.stream
    assert (kept.usage.input_tokens, kept.usage.output_tokens) == (7, 11)
    assert not kept.usage.estimated
    assert kept.time_to_first_token_ms == pytest.approx(1000)
    assert kept.duration_ms == pytest.approx(3000)
    assert kept.tokens_per_s == pytest.approx(10 / 2)


async def test_a_stream_without_usage_is_estimated_and_says_so(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(says("A"), says("B"), disconnected(), done=False))

    await scene.stream()

    kept = record(scene)
    assert (kept.usage.output_tokens, kept.usage.estimated) == (2, True)
    assert (kept.status, kept.outcome) == (200, Outcome.FAILED)
    assert kept.error_code == "upstream_error", "though its status was good"
    assert kept.attempts[0].reason == "The answer was cut short."
    await scene.settle()
    assert scene.totals("a").total_tokens == kept.usage.total, "the same figure everywhere"


async def test_failover_names_every_attempt_and_why(scene: Scene) -> None:
    a = await scene.endpoint("a")
    b = await scene.endpoint("b")
    scene.on("a", replies(json_answer({"error": {"message": "no"}}, 503), after_s=1))
    scene.on("b", json_answer(completion()))

    await scene.ask()

    kept = record(scene)
    assert kept.outcome is Outcome.SUCCEEDED
    assert [(x.endpoint_id, x.outcome, x.status) for x in kept.attempts] == [
        (a.id, Outcome.FAILED, 503),
        (b.id, Outcome.SUCCEEDED, None),
    ]
    assert kept.attempts[1].at_ms == pytest.approx(1000)
    first, second = kept.decisions
    assert (first.answer, first.endpoint_id) == ("granted", a.id)
    assert [c.name for c in first.view.candidates] == ["a", "b"]
    assert [c.excluded for c in first.view.candidates] == [None, None]
    assert second.endpoint_id == b.id
    assert {c.name: c.excluded for c in second.view.candidates} == {"b": None, "a": Exclusion.TRIED}


async def test_waiting_is_told_with_what_was_there_at_both_ends(scene: Scene) -> None:
    a = await scene.endpoint("a")
    scene.on("a", replies(json_answer(completion()), after_s=3))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.ask)
        await scene.settle()
        await scene.ask(request_id="second")

    kept = record(scene, "second")
    assert kept.waited_ms == pytest.approx(3000)
    [decision] = kept.decisions
    assert decision.on_arrival is not None
    [then] = decision.on_arrival.candidates
    [now] = decision.view.candidates
    assert (then.excluded, then.in_flight, then.capacity) == (Exclusion.FULL, 1, 1)
    assert (now.endpoint_id, now.excluded, now.in_flight) == (a.id, None, 0)
    assert record(scene).decisions[0].on_arrival is None, "the first one did not wait"


async def test_why_not_the_others(scene: Scene) -> None:
    await scene.endpoint("good")
    await scene.endpoint("busy")
    for name, mode in (("off", Mode.DISABLED), ("leaving", Mode.DRAINING)):
        endpoint = await scene.endpoint(name)
        await scene.house.registry.update(endpoint.id, partial(replace, mode=mode))
    await scene.endpoint("gone")
    scene.upstream.on(url("gone"), "GET", "/v1/models", replies(refused()))
    for _ in range(2):
        await scene.probed(scene.known("gone"))
    scene.on("busy", hangs)
    scene.on("good", json_answer(completion()))

    async with trio.open_nursery() as nursery:
        for _ in range(2):  # equals take turns
            nursery.start_soon(scene.ask)
            await scene.settle()
        await scene.ask(request_id="third")
        nursery.cancel_scope.cancel()

    [decision] = record(scene, "third").decisions
    assert {c.name: c.excluded for c in decision.view.candidates} == {
        "good": None,
        "off": Exclusion.DISABLED,
        "leaving": Exclusion.DRAINING,
        "busy": Exclusion.FULL,
        "gone": Exclusion.OFFLINE,
    }


@pytest.mark.parametrize("settings", [{"queue_max": 0}])
async def test_refusals_are_recorded_with_what_there_was(scene: Scene) -> None:
    a = await scene.endpoint("a")
    scene.on("a", hangs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.ask)
        await scene.settle()
        reply = await scene.ask(request_id="second")
        nursery.cancel_scope.cancel()

    kept = record(scene, "second")
    assert reply.status == kept.status == 429
    assert (kept.outcome, kept.error_code) == (Outcome.REFUSED, "queue_full")
    assert (kept.endpoint_id, kept.attempts) == (None, ())
    [decision] = kept.decisions
    assert (decision.answer, decision.endpoint_id) == ("line_full", None)
    assert [(c.endpoint_id, c.excluded) for c in decision.view.candidates] == [
        (a.id, Exclusion.FULL)
    ]
    assert record(scene).outcome is Outcome.CANCELLED


async def test_a_model_that_nobody_has(scene: Scene) -> None:
    await scene.ask(chat("made-up" * 1000))
    kept = record(scene)
    assert (kept.status, kept.error_code, kept.known_model) == (404, "model_not_found", False)
    assert len(kept.model) == 500
    assert kept.decisions[0].answer == "model_unknown"


async def test_a_request_that_is_none(scene: Scene) -> None:
    await scene.ask(b"{")
    kept = record(scene)
    assert (kept.status, kept.error_code, kept.model) == (400, "invalid_json", "")
    assert kept.request_bytes == 1


async def test_who_asked(scene: Scene) -> None:
    await moved_in(scene.house, user(), key(limits=KeyLimits(1, None, None)))
    await scene.endpoint("a")
    scene.on("a", json_answer(completion()))
    await scene.ask(headers=bearer("laptop"))
    await scene.ask(headers=bearer("laptop"), request_id="again")
    await scene.ask(request_id="stranger")

    assert record(scene).key_id is not None
    assert record(scene).client_address == "127.0.0.1"
    again = record(scene, "again")
    assert (again.status, again.outcome) == (429, Outcome.REFUSED)
    assert again.key_id == record(scene).key_id
    stranger = record(scene, "stranger")
    assert (stranger.status, stranger.key_id) == (401, None)


LEAVES: dict[str, tuple[Any, float, int]] = {
    "in line or before an answer": (hangs, 5, CLIENT_LEFT),
    "in the middle of a stream": (sse_answer(says("A"), 60.0, says("B")), 5, 200),
}


@pytest.mark.parametrize("when", LEAVES)
async def test_a_client_that_leaves(scene: Scene, when: str) -> None:
    answer, left_at_s, status = LEAVES[when]
    await scene.endpoint("a")
    scene.on("a", answer)
    with trio.move_on_after(left_at_s):
        await scene.stream()

    [kept] = records(scene)
    assert (kept.outcome, kept.status, kept.error_code) == (Outcome.CANCELLED, status, None)
    assert kept.duration_ms == pytest.approx(5000)
    assert kept.attempts[0].outcome is Outcome.CANCELLED


async def test_a_client_that_leaves_the_line_has_waited_all_the_same(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", hangs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.ask)
        await scene.settle()
        with trio.move_on_after(5):
            await scene.ask(request_id="second")
        nursery.cancel_scope.cancel()

    kept = record(scene, "second")
    assert (kept.outcome, kept.status) == (Outcome.CANCELLED, CLIENT_LEFT)
    assert kept.waited_ms == pytest.approx(5000)
    [decision] = kept.decisions
    assert decision.answer == "client_left"
    assert decision.waited_ms == pytest.approx(5000)
    assert [c.excluded for c in decision.view.candidates] == [Exclusion.FULL]


async def test_a_client_that_stops_reading_has_had_what_it_has_had(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(says("A"), says("B"), finish()))
    await scene.stream(FakeDownstream(leaves_at=2))
    [kept] = records(scene)
    assert kept.outcome is Outcome.CANCELLED
    assert kept.usage.estimated


@pytest.mark.parametrize("settings", [{"stream_keepalive_s": 1.0}])
async def test_an_error_after_the_head_alone_is_told_beside_the_status(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", replies(UpstreamFault(FaultKind.UNREACHABLE, "no"), after_s=3))
    reply = await scene.stream()
    kept = record(scene)
    assert reply.status == kept.status == 200
    assert (kept.outcome, kept.error_code) == (Outcome.FAILED, "upstream_unreachable")


async def test_a_fault_of_ours_is_recorded_too(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(completion()))
    await scene.ask(downstream=FakeDownstream(fails_with=ValueError("a bug")))
    assert record(scene).error_code == "internal_error"


async def test_the_chosen_endpoint_and_other_apis(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer({"data": [{"embedding": [1]}], "usage": {"prompt_tokens": 3}}),
             EMBEDDINGS)  # fmt: skip
    await scene.ask(b'{"model": "tiny", "input": "x"}', api=EMBEDDINGS)
    kept = record(scene)
    assert (kept.api, kept.usage.input_tokens) == (EMBEDDINGS, 3)
    assert kept.api in set(Api)


async def test_the_newest_thousand_are_kept_and_a_repeated_id_means_the_newest(
    scene: Scene,
) -> None:
    for number in range(1005):
        await scene.ask(b"{", request_id=f"r{number}")
    assert scene.house.recent.find("r4") is None
    assert scene.house.recent.find("r5") is not None
    await scene.ask(chat("none"), request_id="r7")
    assert record(scene, "r7").status == 404
    assert len(records(scene)) == 1000
