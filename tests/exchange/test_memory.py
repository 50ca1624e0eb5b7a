"""What one request holds in memory stays flat, however much flows through it."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator

import pytest
import trio

from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import Scene
from tests.fakes.openai import chat, event, finish, says
from tests.fakes.upstream import Answer

pytestmark = pytest.mark.simulation

MIB = 1024 * 1024
READ_BYTES = 256 * 1024
READS = 400


async def endless(first: bytes, read: bytes, last: bytes) -> AsyncIterator[bytes]:
    """100 MiB, made as they are asked for."""
    yield first
    for _ in range(READS):
        await trio.lowlevel.checkpoint()
        yield read
    yield last


TOKEN = event(says("x" * 9000))
TOKENS = TOKEN * (READ_BYTES // len(TOKEN))
HALF_A_LINE = b"x" * READ_BYTES

STREAMS = {
    "many tokens": ("text/event-stream", event(says("A")), TOKENS, event(finish())),
    "one endless event": (
        "text/event-stream",
        b'data: {"choices":[{"delta":{"content":"',
        HALF_A_LINE,
        b'"}}]}\n\n' + event(finish()),
    ),
    "one endless comment": (
        "text/event-stream",
        b": ",
        HALF_A_LINE,
        b"\n\n" + event(says("A")) + event(finish()),
    ),
    "a large plain answer": ("application/json", b'{"choices":[', HALF_A_LINE, b"]}"),
}


@pytest.mark.parametrize("name", STREAMS)
async def test_100_mib_flow_through_a_few(scene: Scene, name: str) -> None:
    content_type, first, read, last = STREAMS[name]
    await scene.endpoint("a")
    reply = FakeDownstream(keep=False)
    seen: list[int] = []

    async def handle(call: object) -> Answer:
        [own] = scene.requests()
        # The fake would keep all that was taken from it.
        own.sent = _Forgetful()
        return Answer(200, {"content-type": content_type}, endless(first, read, last))

    scene.on("a", handle)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        await scene.ask(chat(stream=content_type != "application/json"), reply)
        seen.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    await scene.settle()

    assert reply.n_bytes == len(first) + READS * len(read) + len(last)
    assert reply.n_bytes > 95 * MIB
    limit = 24 if content_type == "application/json" else 4  # a plain answer is held up to 8 MiB
    assert max(seen) < limit * MIB
    assert scene.totals("a").successful_requests == 1


class _Forgetful(list[bytes]):
    def append(self, chunk: bytes) -> None:
        pass
