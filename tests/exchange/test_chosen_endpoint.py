"""One chosen endpoint: no other one is asked in its place."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from llmlb.types import EndpointId
from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import CHAT, Scene, asked_with, url
from tests.fakes.openai import chat, completion
from tests.fakes.upstream import json_answer, refused, replies


async def ask_only(scene: Scene, name: str, model: str = "tiny") -> FakeDownstream:
    downstream = FakeDownstream()
    asked = asked_with(chat(model))
    only = EndpointId(f"id-{name}")
    await scene.exchange.serve(CHAT, asked, downstream, only=only)
    return downstream


async def test_it_answers_whatever_the_others_could(scene: Scene) -> None:
    for name in "abc":
        await scene.endpoint(name)
        scene.on(name, json_answer(completion(name)))

    for _ in range(3):
        reply = await ask_only(scene, "b")
        assert (reply.status, reply.headers["x-llmlb-endpoint"]) == (200, "b")
    assert len(scene.requests()) == len(scene.requests("b")) == 3


async def test_its_failure_is_the_answer(scene: Scene) -> None:
    for name in "ab":
        await scene.endpoint(name)
        scene.on(name, json_answer(completion(name)))
    scene.on("a", refused())

    reply = await ask_only(scene, "a")

    assert (reply.status, reply.error["code"]) == (502, "upstream_unreachable")
    assert reply.headers["x-llmlb-endpoint"] == "a"
    assert not scene.requests("b")


@pytest.mark.parametrize("settings", [{"model_fallbacks": {"tiny": ("small",)}}])
async def test_it_is_asked_for_no_other_model(scene: Scene) -> None:
    await scene.endpoint("a", "tiny", "small")
    scene.on("a", refused())

    reply = await ask_only(scene, "a")

    assert (reply.status, reply.error["code"]) == (502, "upstream_unreachable")
    assert [call.json["model"] for call in scene.requests()] == ["tiny"]


async def test_a_model_that_it_does_not_have_is_404(scene: Scene) -> None:
    await scene.endpoint("a", "x")
    await scene.endpoint("b", "y")
    reply = await ask_only(scene, "a", "y")
    assert (reply.status, reply.error["code"]) == (404, "model_not_found")
    assert "on the only endpoint" in reply.error["message"], "for b has it"


async def test_offline_is_503(scene: Scene) -> None:
    endpoint = await scene.endpoint("a")
    await scene.endpoint("b")
    scene.upstream.down(url("a"))
    for _ in range(2):
        await scene.probed(endpoint)

    reply = await ask_only(scene, "a")

    assert (reply.status, reply.error["code"]) == (503, "no_capable_endpoints")
    assert not scene.requests()


async def test_who_waits_for_it_does_not_hold_up_the_others(scene: Scene) -> None:
    for name in "ab":
        await scene.endpoint(name)
        scene.on(name, replies(json_answer(completion(name)), after_s=10))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_only, scene, "a")
        await scene.settle()
        nursery.start_soon(ask_only, scene, "a")
        await scene.settle()
        begun_s = trio.current_time()
        reply = await scene.ask()
        assert reply.headers["x-llmlb-endpoint"] == "b"
        assert trio.current_time() - begun_s == pytest.approx(10)
    assert len(scene.requests("a")) == 2


async def test_its_slots_count_for_it(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", replies(json_answer(completion()), after_s=10))
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(partial(ask_only, scene, "a"))
    assert trio.current_time() == pytest.approx(30)
    await scene.settle()
    assert not scene.leases
