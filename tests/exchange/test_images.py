"""Requests with images: who may answer them, what is refused, what is fetched."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from llmlb.http.vision.gate import IN_THREAD_FROM_BYTES
from tests.fakes.house import Scene, url
from tests.fakes.images import PNG_100X100_BASE64, PNG_100X100_DATA_URL
from tests.fakes.upstream import Answer, json_answer

ANSWER = {"choices": [{"index": 0, "message": {"content": "red"}, "finish_reason": "stop"}]}


def looks_at(*image_urls: str, model: str = "eyes") -> bytes:
    content: list[dict[str, Any]] = [{"type": "text", "text": "What colour?"}]
    content += [{"type": "image_url", "image_url": {"url": one}} for one in image_urls]
    return json.dumps({"model": model, "messages": [{"role": "user", "content": content}]}).encode()


async def endpoint(scene: Scene, name: str, *, reads_images: bool, model: str = "eyes") -> None:
    modalities = ["text", "image"] if reads_images else ["text"]
    entry = {"id": model, "architecture": {"input_modalities": modalities}}
    scene.upstream.get(url(name), "/v1/models", {"object": "list", "data": [entry]})
    scene.on(name, json_answer(ANSWER))
    await scene.register(name, max_concurrency=1)


async def test_an_image_goes_to_an_endpoint_that_reads_images_and_never_to_another(
    scene: Scene,
) -> None:
    await endpoint(scene, "blind", reads_images=False)
    await endpoint(scene, "seeing", reads_images=True)
    body = looks_at(PNG_100X100_DATA_URL)
    for _ in range(3):
        answer = await scene.ask(body)
        assert (answer.status, answer.headers["x-llmlb-endpoint"]) == (200, "seeing")
    assert scene.requests("blind") == []
    assert scene.requests("seeing")[0].body == body


async def test_a_model_without_eyes_is_a_400_and_nothing_is_sent(scene: Scene) -> None:
    await endpoint(scene, "blind", reads_images=False)
    answer = await scene.ask(looks_at(PNG_100X100_DATA_URL))
    assert (answer.status, answer.error["code"]) == (400, "unsupported_capability")
    assert "image" in answer.error["message"]
    assert scene.requests() == []


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([PNG_100X100_DATA_URL] * 11, "10"),
        (["data:image/tiff;base64,AAAA"], "tiff"),
        (["data:image/png;base64,!!!"], "base64"),
        (["data:image/png;base64," + "A" * (IN_THREAD_FROM_BYTES * 20)], "size"),
    ],
)
async def test_what_is_wrong_with_an_image_is_a_400_that_says_it(
    scene: Scene, images: list[str], words: str
) -> None:
    await endpoint(scene, "seeing", reads_images=True)
    answer = await scene.ask(looks_at(*images))
    assert answer.status == 400
    assert words in answer.error["message"]
    assert scene.requests() == []


async def test_by_default_the_endpoint_fetches_what_a_url_names(scene: Scene) -> None:
    await endpoint(scene, "seeing", reads_images=True)
    body = looks_at("http://images.lan/a.png")
    assert (await scene.ask(body)).status == 200
    assert scene.requests("seeing")[0].body == body


@pytest.mark.parametrize("settings", [{"image_fetch": "off"}])
async def test_images_by_url_can_be_switched_off(scene: Scene) -> None:
    await endpoint(scene, "seeing", reads_images=True)
    answer = await scene.ask(looks_at("http://images.lan/a.png"))
    assert (answer.status, answer.error["code"]) == (400, "invalid_image_url")


@pytest.mark.parametrize("settings", [{"image_fetch": "inline"}])
async def test_an_image_can_be_put_in_the_place_of_its_url_and_is_held_no_longer_than_needed(
    scene: Scene,
) -> None:
    await endpoint(scene, "seeing", reads_images=True)
    png = base64.b64decode(PNG_100X100_BASE64)
    image = Answer(200, {"content-type": "image/png"}, [png])
    scene.upstream.on("http://images.lan", "GET", "/a.png", image)
    answer = await scene.ask(looks_at("http://images.lan/a.png"))
    assert answer.status == 200
    assert scene.requests("seeing")[0].body == looks_at(PNG_100X100_DATA_URL)
    assert scene.exchange.images.budget.held_bytes == 0


@pytest.mark.parametrize("settings", [{"image_fetch": "inline", "body_memory_bytes": 1024}])
async def test_images_that_cannot_be_held_are_refused(scene: Scene) -> None:
    await endpoint(scene, "seeing", reads_images=True)
    png = base64.b64decode(PNG_100X100_BASE64)
    image = Answer(200, {"content-type": "image/png"}, [png, b"\0" * 4096])
    scene.upstream.on("http://images.lan", "GET", "/a.png", image)
    answer = await scene.ask(looks_at("http://images.lan/a.png"))
    assert (answer.status, answer.error["code"]) == (503, "overloaded")
    assert scene.exchange.images.budget.held_bytes == 0
