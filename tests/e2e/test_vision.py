"""Images through the balancer: a real llama.cpp vision server behind, the official client in front.

The model is a tiny LLaVA made on the spot. With LLMLB_VISION_MODEL and LLMLB_VISION_MMPROJ (see
scripts/fetch_llava.py) the tests that want an answer get it from that model instead.
"""

from __future__ import annotations

import base64
import json
import os
import random
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from llmlb.demo.servers import LlamaServer
from llmlb.demo.tiny_models import write_tiny_llama, write_tiny_projector
from tests.e2e.fleet import Balancer, Server
from tests.fakes.images import (
    GIF_BASE64,
    JPEG_BASE64,
    PNG_100X100_BASE64,
    PNG_100X100_DATA_URL,
    WEBP_BASE64,
)
from tests.fakes.local_server import Answering, LocalServer, running

MIB = 1024 * 1024
REAL_MODEL = os.environ.get("LLMLB_VISION_MODEL", "")
REAL_PROJECTOR = os.environ.get("LLMLB_VISION_MMPROJ", "")
ANSWER_WITHIN_S = 600.0 if REAL_MODEL else 60.0

VISION, TINY_VISION, TEXT = "llava-v1.5-7b", "tiny-llava", "tiny-text"
LISTED = ("llava-v1.5-7b-hf", "qwen-vl-7b", "llama-3.1-8b", "mistral-7b")
"""What the endpoint that only lists its models has."""


class Site(LocalServer):
    """Serves the picture, and lists models as an engine does that says nothing more of them."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.picture_url = f"{self.url}/picture.png"
        self.asked: list[str] = []


class _Handler(Answering):
    server: Site

    def do_GET(self) -> None:  # noqa: N802 - as http.server calls it
        self.server.asked.append(self.path)
        if self.path == "/picture.png":
            self.answer("image/png", base64.b64decode(PNG_100X100_BASE64))
        elif self.path == "/v1/models":
            self.list_models(LISTED)
        else:
            self.not_here()


@dataclass(frozen=True, slots=True)
class Scene:
    """A balancer with three endpoints: one that sees, one that does not, one that only lists."""

    balancer: Balancer
    site: Site
    client: OpenAI

    def capabilities(self, model: str) -> dict[str, bool]:
        listed = {m["id"]: m for m in self.balancer.ask("GET", "/v1/models")["data"]}
        found: dict[str, bool] = listed[model]["capabilities"]
        return found


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("vision")
    tiny = LlamaServer(
        "tiny-vision",
        write_tiny_llama(directory / "llama.gguf"),
        TINY_VISION,
        projector_file=write_tiny_projector(directory / "projector.gguf"),
    )
    seeing = LlamaServer(
        "vision",
        Path(REAL_MODEL) if REAL_MODEL else tiny.model_file,
        VISION,
        slots=1,
        projector_file=Path(REAL_PROJECTOR) if REAL_MODEL else tiny.projector_file,
        context_tokens=4096 if REAL_MODEL else None,  # an image is 576 tokens to LLaVA-1.5
        threads=os.cpu_count() or 1 if REAL_MODEL else 1,
    )
    blind = LlamaServer("text", tiny.model_file, TEXT)
    servers = [Server(spec, directory) for spec in (seeing, tiny, blind)]
    balancer = Balancer(directory / "balancer")
    try:
        for server in servers:
            server.launch()
        for server in servers:
            server.wait_until_ready()
        with running(Site()) as site, balancer:
            balancer.register_all(*servers)
            balancer.ask("POST", "/api/endpoints", {"name": "lists", "base_url": site.url})
            balancer.wait_for_models(*LISTED)
            url = f"{balancer.base_url}/v1"
            with OpenAI(
                base_url=url, api_key="any", max_retries=0, timeout=ANSWER_WITHIN_S
            ) as client:
                yield Scene(balancer, site, client)
    finally:
        for server in servers:
            server.stop()


def ask(
    scene: Scene, *urls: str, model: str = VISION, text: str = "What is this?", **more: Any
) -> Any:
    content = [{"type": "text", "text": text}]
    content += [{"type": "image_url", "image_url": {"url": url}} for url in urls]  # type: ignore[dict-item]
    return scene.client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": content}],  # type: ignore[list-item, misc]
        max_tokens=8,
        **more,
    )


def refused(scene: Scene, *urls: str, model: str = VISION) -> openai.BadRequestError:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(scene, *urls, model=model)
    assert caught.value.type == "invalid_request_error"
    return caught.value


def said(answer: Any) -> str:
    content = answer.choices[0].message.content
    assert isinstance(content, str)
    return content


def data_url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def png_of(size_bytes: int) -> bytes:
    """A picture of noise of at least *size_bytes*, which do not get smaller by compression."""
    side = int((size_bytes / 3) ** 0.5) + 1
    noise = random.Random(1).randbytes(side * side * 3)
    rows = b"".join(b"\0" + noise[at : at + 3 * side] for at in range(0, len(noise), 3 * side))

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, 0)), chunk(b"IEND", b""))
    )


def test_chat_completions_with_image_url(scene: Scene) -> None:
    assert said(ask(scene, scene.site.picture_url))
    assert "/picture.png" in scene.site.asked


def test_chat_completions_with_base64_image(scene: Scene) -> None:
    answer = ask(scene, PNG_100X100_DATA_URL)
    assert said(answer)
    assert answer.usage.completion_tokens >= 1


def test_chat_completions_with_multiple_images(scene: Scene) -> None:
    assert said(ask(scene, PNG_100X100_DATA_URL, data_url(png_of(2000))))


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("jpeg", JPEG_BASE64),
        ("jpg", JPEG_BASE64),
        ("png", PNG_100X100_BASE64),
        ("gif", GIF_BASE64),
        ("webp", WEBP_BASE64),
    ],
)
def test_supported_image_formats(scene: Scene, kind: str, content: str) -> None:
    url = f"data:image/{kind};base64,{content}"
    if kind != "webp":
        assert said(ask(scene, url, model=TINY_VISION))
        return
    try:
        ask(scene, url, model=TINY_VISION)
    except openai.BadRequestError as error:
        # It passes our check; llama.cpp itself cannot decode webp.
        assert error.code != "unsupported_image_media_type"  # noqa: PT017
        assert "Failed to load image" in str(error) or "decode" in str(error)  # noqa: PT017


def test_vision_streaming_response(scene: Scene) -> None:
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PNG_100X100_DATA_URL}},
    ]
    with httpx.stream(
        "POST",
        f"{scene.balancer.base_url}/v1/chat/completions",
        json={
            "model": VISION,
            "stream": True,
            "max_tokens": 8,
            "messages": [{"role": "user", "content": content}],
        },
        trust_env=False,
        timeout=ANSWER_WITHIN_S,
    ) as answer:
        events = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert events[-1] == "data: [DONE]"
    deltas = [json.loads(event[6:])["choices"][0]["delta"] for event in events[:-1]]
    assert any(delta.get("content") for delta in deltas)


def test_image_request_to_non_vision_model_returns_400(scene: Scene) -> None:
    error = refused(scene, PNG_100X100_DATA_URL, model=TEXT)
    assert "image" in str(error)
    assert (error.code, error.param) == ("unsupported_capability", "model")


def test_image_size_limit_exceeded(scene: Scene) -> None:
    error = refused(scene, data_url(bytes(15 * MIB)))
    assert "15 MiB" in str(error)
    assert error.param == "messages[0].content[1].image_url"


def test_image_count_limit_exceeded(scene: Scene) -> None:
    assert "limit is 10" in str(refused(scene, *[PNG_100X100_DATA_URL] * 11))


def test_invalid_base64_encoding(scene: Scene) -> None:
    assert "base64" in str(refused(scene, "data:image/png;base64,this is not base64!"))


def test_unsupported_image_format(scene: Scene) -> None:
    assert "image/tiff" in str(refused(scene, data_url(b"II*\x00", "image/tiff")))


def test_vision_model_has_image_understanding_capability(scene: Scene) -> None:
    assert scene.capabilities(VISION)["image_understanding"] is True
    # The endpoint says so itself: the name gives no hint.
    assert scene.capabilities(TINY_VISION)["image_understanding"] is True


def test_text_model_has_no_image_understanding_capability(scene: Scene) -> None:
    assert scene.capabilities(TEXT).get("image_understanding", False) is False


def test_mixed_models_capabilities(scene: Scene) -> None:
    by_name = {name: scene.capabilities(name)["image_understanding"] for name in LISTED}
    assert by_name == {
        "llava-v1.5-7b-hf": True,
        "qwen-vl-7b": True,
        "llama-3.1-8b": False,
        "mistral-7b": False,
    }


def test_models_response_includes_capabilities_field(scene: Scene) -> None:
    models = scene.balancer.ask("GET", "/v1/models")["data"]
    assert {model["id"] for model in models} == {VISION, TINY_VISION, TEXT, *LISTED}
    for model in models:
        assert all(isinstance(flag, bool) for flag in model["capabilities"].values())
        assert "image_understanding" in model["capabilities"]


@pytest.mark.parametrize("model", ["llama-3.1-8b", "mistral-7b"])
def test_vision_request_to_text_only_model_integration(scene: Scene, model: str) -> None:
    calls_before = len(scene.site.asked)
    error = refused(scene, scene.site.picture_url, model=model)
    assert f"'{model}' does not support image understanding" in str(error)
    assert "/picture.png" not in scene.site.asked[calls_before:]


def test_models_endpoint_shows_vision_capability_integration(scene: Scene) -> None:
    endpoint = scene.balancer.endpoints()["tiny-vision"]
    scene.balancer.ask("POST", f"/api/endpoints/{endpoint['id']}/sync")
    one = scene.balancer.ask("GET", f"/v1/models/{TINY_VISION}")
    assert one["capabilities"]["image_understanding"] is True
    assert one["endpoint_ids"] == [endpoint["id"]]


def test_vision_processing_performance(scene: Scene) -> None:
    """Of the balancer and a real server; how fast a model of 7 billion is, is not ours to test."""
    picture = png_of(MIB)
    assert len(picture) >= MIB
    started = time.monotonic()
    assert said(ask(scene, data_url(picture), model=TINY_VISION))
    assert time.monotonic() - started < 5
