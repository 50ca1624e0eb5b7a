from __future__ import annotations

from pathlib import Path

import httpx

from llmlb.demo.servers import LlamaServer
from llmlb.demo.tiny_models import write_tiny_llama, write_tiny_projector
from tests.e2e.fleet import Fleet, Server

TINY_PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def listed(server: Server) -> list[str]:
    answer = httpx.get(f"{server.base_url}/v1/models", trust_env=False).json()
    return [model["id"] for model in answer["data"]]


def test_each_server_lists_its_one_model(fleet: Fleet) -> None:
    assert [listed(server) for server in fleet] == [
        ["tiny-a"],
        ["tiny-b"],
        ["tiny-s"],
        ["tiny-s"],
        ["tiny-embed"],
    ]


def test_a_killed_server_comes_back_on_its_port(fleet: Fleet) -> None:
    before = fleet.s2.base_url
    fleet.s2.kill()
    assert not fleet.s2.is_running
    fleet.s2.restart()
    fleet.s2.restart()
    assert fleet.s2.base_url == before
    assert listed(fleet.s2) == ["tiny-s"]


def test_the_embedding_server_answers_in_the_openai_shape(fleet: Fleet) -> None:
    answer = httpx.post(
        f"{fleet.embed.base_url}/v1/embeddings",
        json={"model": "tiny-embed", "input": ["one", "two"]},
        trust_env=False,
    )
    assert [len(item["embedding"]) for item in answer.json()["data"]] == [64, 64]


def test_a_server_with_a_projector_reads_images_and_ends_when_asked(tmp_path: Path) -> None:
    spec = LlamaServer(
        "vision",
        write_tiny_llama(tmp_path / "tiny.gguf"),
        "tiny-vision",
        projector_file=write_tiny_projector(tmp_path / "projector.gguf"),
    )
    server = Server(spec, tmp_path)
    server.start()
    try:
        content = [
            {"type": "text", "text": "what is this"},
            {"type": "image_url", "image_url": {"url": TINY_PNG}},
        ]
        answer = httpx.post(
            f"{server.base_url}/v1/chat/completions",
            json={"messages": [{"role": "user", "content": content}], "max_tokens": 4},
            trust_env=False,
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["completion_tokens"] == 4
    finally:
        assert server.stop() == 0
