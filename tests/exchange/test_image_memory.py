"""What an image of 10 MiB adds to memory on its way through the balancer."""

from __future__ import annotations

import base64
import json
import random
import tracemalloc
from typing import Any

import pytest

from llmlb.types import Api
from tests.fakes.house import CHAT, Scene, url
from tests.fakes.openai import completion, finish, says
from tests.fakes.upstream import json_answer, sse_answer

MIB = 1024 * 1024
IMAGE_BYTES = 10 * MIB

IMAGE = base64.b64encode(random.Random(1).randbytes(IMAGE_BYTES)).decode()
"""Of bytes like those of a real one, so that its base64 holds any short word, `NaN` too."""

DATA_URL = f"data:image/png;base64,{IMAGE}"
SOURCE = {"type": "base64", "media_type": "image/png", "data": IMAGE}
RESULT = {
    "type": "tool_result",
    "tool_use_id": "t",
    "content": [{"type": "image", "source": SOURCE}],
}
CALL = {"type": "tool_use", "id": "t", "name": "look", "input": {}}

CHAT_PART = {"type": "image_url", "image_url": {"url": DATA_URL}}
BARE_PART = {"type": "image_url", "image_url": DATA_URL}
RESPONSE_PART = {"type": "input_image", "image_url": DATA_URL}
BLOCK = {"type": "image", "source": SOURCE}
URL_BLOCK = {"type": "image", "source": {"type": "url", "url": DATA_URL}}


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


ASKED: dict[str, tuple[Api, dict[str, Any]]] = {
    "chat": (CHAT, {"messages": [user(CHAT_PART)]}),
    "chat, streamed": (CHAT, {"messages": [user(CHAT_PART)], "stream": True}),
    "chat, streamed with options": (
        CHAT,
        {"messages": [user(CHAT_PART)], "stream": True, "stream_options": {"x": 1}},
    ),
    "chat with a bare string": (CHAT, {"messages": [user(BARE_PART)]}),
    "responses": (Api.RESPONSES, {"input": [user(RESPONSE_PART)]}),
    "messages": (Api.MESSAGES, {"max_tokens": 9, "messages": [user(BLOCK)]}),
    "messages with a data URL": (Api.MESSAGES, {"max_tokens": 9, "messages": [user(URL_BLOCK)]}),
    "messages, streamed": (
        Api.MESSAGES,
        {"max_tokens": 9, "messages": [user(BLOCK)], "stream": True},
    ),
    "messages with a tool's image": (
        Api.MESSAGES,
        {
            "max_tokens": 9,
            "messages": [
                user({"type": "text", "text": "Hi"}),
                {"role": "assistant", "content": [CALL]},
                user(RESULT),
            ],
        },
    ),
}


@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize("name", ASKED)
async def test_an_image_adds_less_than_3_times_its_size(
    scene: Scene, name: str, escaped: bool
) -> None:
    api, fields = ASKED[name]
    entry = {"id": "eyes", "architecture": {"input_modalities": ["text", "image"]}}
    scene.upstream.get(url("a"), "/v1/models", {"object": "list", "data": [entry]})
    plain = json_answer({**completion(), "output": [{}]})
    if api is not Api.MESSAGES:  # to be translated
        scene.on("a", plain, api)
    scene.on("a", sse_answer(says("A"), finish()) if fields.get("stream") else plain, CHAT)
    await scene.register("a")
    body = json.dumps({"model": "eyes", **fields}).encode()
    image = IMAGE.encode()
    if escaped:  # as PHP and others write a slash
        body, image = body.replace(b"/", rb"\/"), image.replace(b"/", rb"\/")

    tracemalloc.start()
    try:
        answer = await scene.ask(body, api=api)
        added_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert answer.status == 200
    [sent] = scene.requests("a")
    assert sent.body is not None
    assert image in sent.body
    assert len(body) + added_bytes < 3 * IMAGE_BYTES
