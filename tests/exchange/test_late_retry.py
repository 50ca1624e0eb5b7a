"""An exchange whose endpoint failed asks again: it keeps its place, and waits if it must."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import Scene
from tests.fakes.openai import chat, completion
from tests.fakes.upstream import Answer, SeenCall, hangs, json_answer, refused, replies


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    return getattr(request, "param", {})


async def start(scene: Scene, nursery: trio.Nursery, model: str = "tiny") -> FakeDownstream:
    reply = FakeDownstream()
    nursery.start_soon(scene.ask, chat(model), reply)
    await scene.settle()
    return reply


async def test_it_waits_for_a_busy_second_endpoint(scene: Scene) -> None:
    await scene.endpoint("a", slots=1)
    await scene.endpoint("b", slots=1)
    scene.on("a", replies(refused(), after_s=1))
    scene.on("b", replies(json_answer(completion()), after_s=10))

    async with trio.open_nursery() as nursery:
        unlucky = await start(scene, nursery)
        await start(scene, nursery)

    assert unlucky.status == 200
    assert unlucky.headers["x-llmlb-endpoint"] == "b"
    assert unlucky.headers["x-llmlb-attempts"] == "2"
    assert unlucky.headers["x-llmlb-queue-ms"] == "9000"
    assert unlucky.headers["x-queue-status"] == "queued"
    assert trio.current_time() == pytest.approx(20)


async def test_it_keeps_its_place_before_those_who_came_later(scene: Scene) -> None:
    await scene.endpoint("a", slots=1)
    await scene.endpoint("b", slots=1)
    scene.on("a", replies(refused(), after_s=1))

    async def in_order(call: SeenCall) -> Answer:
        await trio.sleep(10)
        return json_answer(completion())

    scene.on("b", in_order)
    order: list[str] = []

    async def asks(name: str) -> None:
        await scene.ask(chat(user=name))
        order.append(name)

    async with trio.open_nursery() as nursery:
        for name in ("first", "second", "third"):  # first on a, second on b, third waits
            nursery.start_soon(asks, name)
            await scene.settle()
        scene.on("a", hangs)
        # At 1 s the first comes back from a, and a goes to the third. A fourth waits behind.
        await trio.sleep(2)
        nursery.start_soon(asks, "fourth")
        await trio.sleep(25)
        assert order == ["second", "first"]
        nursery.cancel_scope.cancel()

    assert [call.json["user"] for call in scene.requests("b")] == ["second", "first", "fourth"]


@pytest.mark.parametrize("settings", [{"queue_max": 1}], indirect=True)
async def test_a_full_line_does_not_refuse_one_that_was_admitted_before(scene: Scene) -> None:
    await scene.endpoint("a", slots=1)
    await scene.endpoint("b", slots=1)
    scene.on("a", replies(refused(), after_s=1))
    scene.on("b", replies(json_answer(completion()), after_s=10))

    async with trio.open_nursery() as nursery:
        unlucky = await start(scene, nursery)
        await start(scene, nursery)
        await start(scene, nursery)
        assert scene.waiting == {"tiny": 1}

    assert unlucky.status == 200


@pytest.mark.parametrize("settings", [{"queue_timeout_s": 30.0}], indirect=True)
async def test_all_its_waiting_together_is_bounded(scene: Scene) -> None:
    for name in "ab":
        await scene.endpoint(name, slots=1)
    scene.on("a", replies(json_answer(completion()), after_s=20))
    scene.on("b", hangs)

    async with trio.open_nursery() as nursery:
        await start(scene, nursery)
        await start(scene, nursery)
        unlucky = await start(scene, nursery)
        await trio.sleep(10)
        scene.on("a", replies(refused(), after_s=5))
        await trio.sleep(30)  # admitted to a after 20 s, failed at 25 s, 10 s left to wait for b
        assert unlucky.begun
        assert scene.waiting == {}
        nursery.cancel_scope.cancel()

    assert unlucky.status == 502
    assert unlucky.error["code"] == "upstream_unreachable", "what failed says more than the wait"


@pytest.mark.parametrize("settings", [{"queue_timeout_s": 0}], indirect=True)
async def test_without_time_to_wait_it_gives_up_when_all_others_are_busy(scene: Scene) -> None:
    await scene.endpoint("a", slots=1)
    await scene.endpoint("b", slots=1)
    scene.on("a", replies(refused(), after_s=1))
    scene.on("b", hangs)

    async with trio.open_nursery() as nursery:
        unlucky = await start(scene, nursery)
        await start(scene, nursery)
        await trio.sleep(2)
        assert unlucky.begun
        assert unlucky.error["code"] == "upstream_unreachable"
        nursery.cancel_scope.cancel()


async def test_an_endpoint_that_failed_it_is_not_asked_again_though_it_is_free(
    scene: Scene,
) -> None:
    await scene.endpoint("a", slots=1)
    await scene.endpoint("b", slots=1)
    failures = iter([refused()])

    async def fails_once(call: SeenCall) -> Answer:
        await trio.sleep(1)
        for failure in failures:
            raise failure
        return json_answer(completion())

    scene.on("a", fails_once)
    scene.on("b", replies(json_answer(completion()), after_s=10))

    async with trio.open_nursery() as nursery:
        unlucky = await start(scene, nursery)
        await start(scene, nursery)
        await trio.sleep(2)
        other = await scene.ask()

    assert other.headers["x-llmlb-endpoint"] == "a"
    assert unlucky.headers["x-llmlb-endpoint"] == "b"


async def test_with_nothing_left_to_wait_for_it_is_answered_at_once(scene: Scene) -> None:
    await scene.endpoint("a", slots=1)
    await scene.endpoint("b", "other", slots=1)
    scene.on("a", replies(refused(), after_s=1))

    reply = await scene.ask()

    assert reply.status == 502
    assert trio.current_time() == pytest.approx(1)
