"""What an image of 10 MiB adds to the memory of the process, from socket to socket."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import StartBalancer
from tests.e2e.fleet import Balancer
from tests.e2e.stub import Stub

MIB = 1024 * 1024
IMAGE_BYTES = 10 * MIB


@pytest.fixture
def behind(start_balancer: StartBalancer, stub: Stub, native: bool) -> Balancer:
    stub.own_routes = {"/v1/messages"} if native else set()
    balancer = start_balancer(settings={"LLMLB_HEALTH_CHECK_INTERVAL": "3600"})
    balancer.ask("POST", "/api/endpoints", {"name": "stub", "base_url": stub.url})
    balancer.wait_until_online("stub")
    return balancer


def image(n_bytes: int) -> str:
    """Base64 of bytes like those of a real image: any short word stands in it."""
    return base64.b64encode(random.Random(1).randbytes(n_bytes)).decode()


def chat(data: str) -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    return {"messages": [{"role": "user", "content": [part]}]}


def response(data: str) -> dict[str, Any]:
    part = {"type": "input_image", "image_url": f"data:image/png;base64,{data}"}
    return {"input": [{"role": "user", "content": [part]}]}


def message(data: str) -> dict[str, Any]:
    source = {"type": "base64", "media_type": "image/png", "data": data}
    turn = {"role": "user", "content": [{"type": "image", "source": source}]}
    return {"max_tokens": 9, "messages": [turn]}


def status_bytes(pid: int, what: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if what in line)


ROUTES = {
    "chat": ("/v1/chat/completions", chat, False),
    "responses": ("/v1/responses", response, False),
    "messages, native": ("/v1/messages", message, True),
    "messages, translated": ("/v1/messages", message, False),
}


@pytest.mark.parametrize("escaped", [False, True], ids=["plain", "escaped"])
@pytest.mark.parametrize(
    ("path", "asking", "native"), [pytest.param(*case, id=name) for name, case in ROUTES.items()]
)
def test_an_image_adds_less_than_3_times_its_size(
    behind: Balancer, stub: Stub, path: str, asking: Any, escaped: bool
) -> None:
    pid = behind.child.pid

    def ask(n_bytes: int) -> None:
        body = json.dumps({"model": "quick", **asking(image(n_bytes))})
        if escaped:  # as PHP and others write a slash
            body = body.replace("/", r"\/")
        headers = {"content-type": "application/json"}
        url = f"{behind.base_url}{path}"
        answer = httpx.post(url, content=body, headers=headers, trust_env=False, timeout=60)
        assert answer.status_code == 200, answer.text

    ask(MIB)  # whatever is loaded by the first request
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    before_bytes = status_bytes(pid, "VmRSS")
    ask(IMAGE_BYTES)
    added_bytes = status_bytes(pid, "VmHWM") - before_bytes

    assert image(IMAGE_BYTES) in json.dumps(stub.calls[-1].body), "it has arrived"
    stub.calls.clear()
    print(f"{added_bytes / IMAGE_BYTES:.2f} x the image")  # noqa: T201 - what is measured
    assert added_bytes < 3 * IMAGE_BYTES
