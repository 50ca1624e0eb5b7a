"""One name for several engines' models, and a model in place of another that nobody serves."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest
import trio

from llmlb.types import Api, Capability
from tests.fakes.house import CHAT, Scene, url
from tests.fakes.images import PNG_100X100_DATA_URL
from tests.fakes.openai import chat, completion, finish, says, wire
from tests.fakes.upstream import hangs, json_answer, refused, sse_answer

ALIASES = {"model_aliases": {"fast": ("llama3.1:8b", "tiny")}}
FALLBACKS = {"model_fallbacks": {"big": ("medium", "small")}}


@pytest.mark.parametrize("settings", [ALIASES])
async def test_each_endpoint_is_asked_by_its_own_name(scene: Scene) -> None:
    await scene.endpoint("a", "llama3.1:8b")
    await scene.endpoint("b", "meta-llama/Llama-3.1-8B-Instruct")
    for name, own in (("a", "llama3.1:8b"), ("b", "meta-llama/Llama-3.1-8B-Instruct")):
        scene.on(name, json_answer(completion(name, model=own)))

    replies = [await scene.ask(chat("fast", seed=1.10)) for _ in range(2)]

    asked = {call.endpoint.name: call.json["model"] for call in scene.requests()}
    assert asked == {"a": "llama3.1:8b", "b": "meta-llama/Llama-3.1-8B-Instruct"}
    assert [reply.json["model"] for reply in replies] == ["fast", "fast"]
    assert {reply.headers["x-llmlb-model"] for reply in replies} == set(asked.values())
    # All else goes on as it came.
    assert all(call.body is not None and b'"seed": 1.1' in call.body for call in scene.requests())


@pytest.mark.parametrize("settings", [ALIASES])
async def test_a_stream_is_asked_by_its_own_name_and_passed_on_untouched(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(says("Hi"), finish()))

    reply = await scene.stream(model="fast")

    assert reply.body == wire(says("Hi"), finish())
    [call] = scene.requests()
    assert call.json["model"] == "tiny"
    assert call.json["stream_options"] == {"include_usage": True}


async def test_both_names_of_one_model_reach_both_engines(scene: Scene) -> None:
    await scene.endpoint("a", "llama3.1:8b")
    await scene.endpoint("b", "meta-llama/Llama-3.1-8B-Instruct")
    for name in "ab":
        scene.on(name, json_answer(completion()))

    for model in ("llama3.1:8b", "meta-llama/Llama-3.1-8B-Instruct"):
        for _ in range(2):
            assert (await scene.ask(chat(model))).status == 200

    for name in "ab":
        assert len(scene.requests(name)) == 2


async def test_an_endpoints_own_alias_holds_for_it_alone(scene: Scene) -> None:
    await scene.endpoint("a", "x", model_aliases=(("code", "x"),))
    await scene.endpoint("b", "x")
    scene.on("a", json_answer(completion("Hi", model="x")))

    for _ in range(3):
        assert (await scene.ask(chat("code"))).json["model"] == "code"

    assert {call.endpoint.name for call in scene.requests()} == {"a"}
    assert {call.json["model"] for call in scene.requests()} == {"x"}


@pytest.mark.parametrize("settings", [ALIASES])
async def test_latency_is_kept_by_the_endpoints_own_name(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(completion()))

    await scene.ask(chat("fast"))
    await scene.settle()

    assert scene.standing("a", "tiny") is not None
    assert scene.standing("a", "fast") is None


@pytest.mark.parametrize("settings", [ALIASES])
async def test_an_alias_in_a_message_is_renamed_too(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(completion()))
    body = {"model": "fast", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}

    reply = await scene.ask(json.dumps(body).encode(), api=Api.MESSAGES)

    assert reply.json["model"] == "fast"
    [call] = scene.upstream.seen("/v1/chat/completions", url("a"))
    assert call.json["model"] == "tiny"


# -- fallbacks


@pytest.mark.parametrize("settings", [FALLBACKS])
async def test_a_fallback_serves_when_nobody_has_the_model(scene: Scene) -> None:
    await scene.endpoint("a", "small")
    scene.on("a", json_answer(completion("Hi", model="small")))

    reply = await scene.ask(chat("big"))

    assert reply.status == 200
    assert reply.json["model"] == "small"  # it is not what was asked for, and says so
    assert reply.headers["x-llmlb-model"] == "small"
    assert scene.requests()[0].json["model"] == "small"
    [record] = scene.house.recent.newest_first()
    assert (record.model, record.known_model) == ("big", True), "the operator has named it"


@pytest.mark.parametrize("settings", [FALLBACKS])
async def test_a_fallback_serves_when_every_endpoint_of_the_model_fails(scene: Scene) -> None:
    await scene.endpoint("a", "big")
    await scene.endpoint("b", "medium")
    scene.on("a", refused())
    scene.on("b", json_answer(completion("Hi", model="medium")))

    reply = await scene.ask(chat("big"))

    assert (reply.status, reply.headers["x-llmlb-model"]) == (200, "medium")
    assert reply.headers["x-llmlb-attempts"] == "2"
    await scene.settle()
    assert not scene.leases


@pytest.mark.parametrize("settings", [FALLBACKS])
async def test_a_fallback_serves_when_every_endpoint_of_the_model_is_too_slow(
    scene: Scene,
) -> None:
    await scene.endpoint("a", "big", inference_timeout_s=40.0)
    await scene.endpoint("b", "medium")
    scene.on("a", hangs)
    scene.on("b", json_answer(completion()))

    reply = await scene.ask(chat("big"))

    assert (reply.status, reply.headers["x-llmlb-model"]) == (200, "medium")
    assert trio.current_time() == pytest.approx(40)


@pytest.mark.parametrize("settings", [FALLBACKS])
async def test_a_fallback_serves_what_no_endpoint_of_the_model_can_do(scene: Scene) -> None:
    await scene.endpoint("a", "big")
    await scene.endpoint("b", "medium")
    can_see = (("medium", frozenset({Capability.IMAGE_UNDERSTANDING})),)
    blind = (("big", frozenset({Capability.CHAT_COMPLETION})),)
    for name, capabilities in (("a", blind), ("b", can_see)):
        await scene.house.registry.update(
            scene.known(name).id, partial(replace, model_capabilities=capabilities)
        )
    scene.on("b", json_answer(completion()))
    image = {"type": "image_url", "image_url": {"url": PNG_100X100_DATA_URL}}

    reply = await scene.ask(chat("big", messages=[{"role": "user", "content": [image]}]))

    assert (reply.status, reply.headers["x-llmlb-model"]) == (200, "medium")
    assert not scene.requests("a")


@pytest.mark.parametrize("settings", [FALLBACKS])
async def test_the_model_itself_is_preferred(scene: Scene) -> None:
    await scene.endpoint("a", "big")
    await scene.endpoint("b", "medium")
    scene.on("a", json_answer(completion()))

    for _ in range(3):
        assert (await scene.ask(chat("big"))).status == 200
    assert not scene.requests("b")


@pytest.mark.parametrize("settings", [FALLBACKS])
async def test_a_refusal_of_the_request_is_no_reason_to_fall_back(scene: Scene) -> None:
    await scene.endpoint("a", "big")
    await scene.endpoint("b", "medium")
    scene.on("a", json_answer({"error": {"message": "too long"}}, 400))

    reply = await scene.ask(chat("big"))

    assert (reply.status, reply.error["message"]) == (400, "too long")
    assert not scene.requests("b")


@pytest.mark.parametrize("settings", [FALLBACKS])
async def test_poison_is_not_given_to_another_model(scene: Scene) -> None:
    for name in "ab":
        await scene.endpoint(name, "big")
        scene.on(name, json_answer({"error": {"message": "boom"}}, 500))
    await scene.endpoint("c", "medium")

    assert (await scene.ask(chat("big"))).status == 502
    assert not scene.requests("c")


@pytest.mark.parametrize("settings", [FALLBACKS])
async def test_when_no_fallback_serves_either_the_first_error_is_told(scene: Scene) -> None:
    await scene.endpoint("a", "medium")
    scene.on("a", refused())

    reply = await scene.ask(chat("big"))

    assert (reply.status, reply.error["code"]) == (404, "model_not_found")
    assert "'big'" in reply.error["message"]


@pytest.mark.parametrize("settings", [{**FALLBACKS, "model_aliases": {"big": ("huge",)}}])
async def test_an_alias_may_have_fallbacks(scene: Scene) -> None:
    await scene.endpoint("a", "huge")
    await scene.endpoint("b", "medium")
    scene.on("a", refused())
    scene.on("b", json_answer(completion()))

    reply = await scene.ask(chat("big"))

    assert (reply.status, reply.headers["x-llmlb-model"]) == (200, "medium")
    assert [call.json["model"] for call in scene.requests()] == ["huge", "medium"]


async def test_a_name_with_slashes_and_colons_is_asked_for_as_it_is(scene: Scene) -> None:
    await scene.endpoint("a", "org/model:Q4_K_M@1.0")
    scene.on("a", json_answer(completion()), CHAT)

    reply = await scene.ask(chat("org/model:Q4_K_M@1.0"))

    assert reply.headers["x-llmlb-model"] == "org/model:Q4_K_M@1.0"
