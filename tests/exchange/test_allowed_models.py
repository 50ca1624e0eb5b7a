"""That a key with a list of models gets no other, by whatever name or way."""

from __future__ import annotations

from typing import Any

import pytest

from llmlb.accounts import Permission, Role
from llmlb.types import Api
from tests.fakes.accounts import bearer, key, moved_in, user
from tests.fakes.house import Scene
from tests.fakes.openai import chat, completion
from tests.fakes.upstream import json_answer, refused

ALIASES = {"model_aliases": {"fast": ("tiny", "medium"), "small": ("tiny",)}}
FALLBACKS = {"model_fallbacks": {"big": ("medium", "tiny")}}


async def holding(scene: Scene, *models: str, **fields: Any) -> dict[str, str]:
    """The header of a key that may ask for *models* alone."""
    await moved_in(
        scene.house, user(), key(allowed_models=frozenset(models), **fields), key("free")
    )
    return bearer("laptop")


async def serving(scene: Scene, *names: str) -> None:
    """An endpoint for each model, called like it."""
    for name in names:
        await scene.endpoint(name, name)
        scene.on(name, json_answer(completion(model=name)))


async def test_what_is_on_the_list_is_served_and_nothing_else(scene: Scene) -> None:
    shows = await holding(scene, "tiny")
    await serving(scene, "tiny", "medium")
    assert (await scene.ask(chat("tiny"), headers=shows)).status == 200
    for model in ("medium", "unheard-of"):
        reply = await scene.ask(chat(model), headers=shows)
        assert (reply.status, reply.error["code"]) == (403, "insufficient_permissions")
        assert reply.error["param"] == "model"
    assert (await scene.ask(chat("medium"), headers=bearer("free"))).status == 200
    assert len(scene.requests("medium")) == 1


@pytest.mark.parametrize("settings", [ALIASES])
async def test_an_alias_is_served_that_means_nothing_but_what_is_on_the_list(scene: Scene) -> None:
    shows = await holding(scene, "tiny")
    await serving(scene, "tiny", "medium")
    assert (await scene.ask(chat("small"), headers=shows)).status == 200
    assert (await scene.ask(chat("fast"), headers=shows)).status == 403


@pytest.mark.parametrize("settings", [ALIASES])
async def test_an_alias_on_the_list_does_not_open_what_it_means(scene: Scene) -> None:
    shows = await holding(scene, "small")
    await serving(scene, "tiny")
    assert (await scene.ask(chat("small"), headers=shows)).status == 200
    assert (await scene.ask(chat("tiny"), headers=shows)).status == 403


@pytest.mark.parametrize("settings", [FALLBACKS])
async def test_a_fallback_that_is_not_on_the_list_is_not_used(scene: Scene) -> None:
    shows = await holding(scene, "big", "tiny")
    await serving(scene, "big", "medium", "tiny")
    scene.on("big", refused())

    reply = await scene.ask(chat("big"), headers=shows)

    assert (reply.status, reply.headers["x-llmlb-model"]) == (200, "tiny")
    assert scene.requests("medium") == []
    reply = await scene.ask(chat("big"), headers=bearer("free"))
    assert reply.headers["x-llmlb-model"] == "medium"


@pytest.mark.parametrize("settings", [FALLBACKS])
async def test_without_a_fallback_that_is_allowed_the_answer_is_the_first_ones(
    scene: Scene,
) -> None:
    shows = await holding(scene, "big")
    await serving(scene, "big", "medium", "tiny")
    scene.on("big", refused())
    reply = await scene.ask(chat("big"), headers=shows)
    assert reply.status in (502, 503)
    assert not scene.requests("medium") + scene.requests("tiny")


async def test_a_list_holds_for_every_route(scene: Scene) -> None:
    shows = await holding(scene, "tiny")
    await serving(scene, "medium")
    for api in (Api.COMPLETIONS, Api.EMBEDDINGS, Api.RERANK, Api.SPEECH, Api.IMAGE_GENERATIONS):
        body = b'{"model": "medium", "prompt": "x", "input": "x", "query": "x", "documents": ["x"]}'
        reply = await scene.ask(body, api=api, headers=shows)
        assert (reply.status, reply.error["code"]) == (403, "insufficient_permissions"), api
    assert scene.requests() == []


async def test_a_list_that_is_changed_counts_for_the_next_request(scene: Scene) -> None:
    shows = await holding(scene, "tiny")
    await serving(scene, "tiny")
    assert (await scene.ask(headers=shows)).status == 200
    await holding(scene, "medium")
    assert (await scene.ask(headers=shows)).status == 403
    await moved_in(scene.house, key(enabled=False))
    assert (await scene.ask(headers=shows)).status == 401


async def test_a_key_without_the_permission_for_inference_asks_in_vain(scene: Scene) -> None:
    shows = await holding(scene, "tiny", permissions=frozenset({Permission.MODELS_READ}))
    await serving(scene, "tiny")
    reply = await scene.ask(headers=shows)
    assert (reply.status, reply.error["code"]) == (403, "insufficient_permissions")


async def test_a_viewers_key_is_good_for_inference(scene: Scene) -> None:
    await moved_in(scene.house, user(), user("vic", Role.VIEWER), key("k", owner="vic"))
    await serving(scene, "tiny")
    assert (await scene.ask(headers=bearer("k"))).status == 200
