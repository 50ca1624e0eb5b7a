"""What an image of 10 MiB adds to the memory of a real balancer, between real sockets."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.fleet import Balancer
from tests.e2e.seeing_stub import SeeingStub
from tests.e2e.test_upload import peak_bytes
from tests.fakes.local_server import running

MIB = 1024 * 1024
IMAGE_BYTES = 10 * MIB


@dataclass(frozen=True, slots=True)
class Shape:
    """One way to ask about an image, and what becomes of it."""

    path: str
    fields: Callable[[str], dict[str, Any]]
    speaks_messages: bool = False
    """Whether the endpoint does."""
    sent_to: str | None = None
    """The path there, if it is another one."""


def _chat(image: str) -> dict[str, Any]:
    url = {"url": f"data:image/png;base64,{image}"}
    part = {"type": "image_url", "image_url": url}
    return {"messages": [{"role": "user", "content": [part]}]}


def _streamed_chat(image: str) -> dict[str, Any]:
    return {"stream": True, "stream_options": {"x": 1}, **_chat(image)}


def _responses(image: str) -> dict[str, Any]:
    part = {"type": "input_image", "image_url": f"data:image/png;base64,{image}"}
    return {"input": [{"role": "user", "content": [part]}]}


def _messages(image: str) -> dict[str, Any]:
    source = {"type": "base64", "media_type": "image/png", "data": image}
    blocks = [{"type": "image", "source": source}]
    return {"max_tokens": 9, "messages": [{"role": "user", "content": blocks}]}


SHAPES = {
    "chat": Shape("/v1/chat/completions", _chat),
    "streamed chat": Shape("/v1/chat/completions", _streamed_chat),
    "responses": Shape("/v1/responses", _responses),
    "native messages": Shape("/v1/messages", _messages, speaks_messages=True),
    "translated messages": Shape("/v1/messages", _messages, sent_to="/v1/chat/completions"),
}

WRITERS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "escaped slashes": lambda text: text.replace("/", "\\/"),  # PHP's json_encode
    "escaped pluses": lambda text: text.replace("+", "\\u002B"),  # .NET's JsonSerializer
}
"""How JSON writers put the same text."""


def base64_of(n_bytes: int) -> str:
    """Of bytes like those of a real image, so that any short word is in it, `NaN` too."""
    return base64.b64encode(random.Random(1).randbytes(n_bytes)).decode()


def peak_kept_anew(pid: int) -> None:
    """Let the most memory that the process has ever had be what it has now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


@dataclass(slots=True)
class Asker:
    """Sends images of any size through one balancer, to an endpoint of each kind."""

    balancer: Balancer
    stubs: dict[bool, SeeingStub]
    before_bytes: int = 0
    """What the balancer had resident before its first large image."""

    def ask(self, shape: Shape, write: Callable[[str], str], image: str) -> None:
        stub = self.stubs[shape.speaks_messages]
        asked = {"model": stub.model, **shape.fields(image)}
        answer = httpx.post(
            self.balancer.base_url + shape.path,
            headers={"content-type": "application/json"},
            content=write(json.dumps(asked)).encode(),
            timeout=60,
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text
        path, sent = stub.asked
        assert path == (shape.sent_to or shape.path)
        assert image in json.dumps(json.loads(sent))


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    with (
        running(SeeingStub("eyes", speaks_messages=False)) as plain,
        running(SeeingStub("native-eyes", speaks_messages=True)) as native,
        Balancer(tmp_path_factory.mktemp("balancer")) as balancer,
    ):
        for stub in (plain, native):
            entry = {"name": stub.model, "base_url": stub.url}
            balancer.ask("POST", "/api/endpoints", entry)
        balancer.wait_until_online(plain.model, native.model)
        asker = Asker(balancer, {False: plain, True: native})
        # Small ones warm up: what a large one left behind would hide what the next one takes.
        for shape in SHAPES.values():
            for write in WRITERS.values():
                asker.ask(shape, write, base64_of(2048))
        peak_kept_anew(balancer.child.pid)
        asker.before_bytes = peak_bytes(balancer.child.pid)
        yield asker


@pytest.mark.parametrize("written", WRITERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_image_adds_less_than_3_times_its_size(
    asker: Asker, shape: str, written: str, record_property: Callable[[str, object], None]
) -> None:
    pid = asker.balancer.child.pid
    peak_kept_anew(pid)
    for _ in range(2):  # the second one finds memory as the first one has left it
        asker.ask(SHAPES[shape], WRITERS[written], base64_of(IMAGE_BYTES))
    added_bytes = peak_bytes(pid) - asker.before_bytes
    record_property("added_mib", round(added_bytes / MIB, 1))
    # The body itself is 1.33 times the image, a little more with escapes.
    assert IMAGE_BYTES < added_bytes < 3 * IMAGE_BYTES
