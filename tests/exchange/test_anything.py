"""Whatever an endpoint answers, a client gets its bytes unchanged, or one error, and no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import MockClock

from llmlb.accounting import Totals
from llmlb.http.relay import WITHHELD_LIMIT_BYTES as LONGEST
from llmlb.http.sse import EventScanner, data_of
from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import Scene, scene_in
from tests.fakes.openai import chat, chunk, completion, event, finish, role, says, usage_alone
from tests.fakes.upstream import Answer, disconnected

some = hypothesis_settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

EVENTS = [
    b": comment\n\n",
    event(role()),
    event(says("A")),
    event(says("Grüße")),
    event(chunk({"content": "x"}, usage={"prompt_tokens": 2})),
    event(finish()),
    event({"unknown": 1}),
    b"data: not json\n\n",
    b"data: [DONE]\n\n",
    event(usage_alone()),
    b'data: {"error": {"message": "oom"}}\n\n',
    b"event: error\ndata: oom\n\n",
    b"error: oom\n\n",
    b"\xff\xfe\n\n",
    b"\n",
    b"x" * 70_000 + b"\n",
]
ERRORS = (b'data: {"error": {"message": "oom"}}', b"event: error", b"error: oom")

ends = st.sampled_from([[], [disconnected()], [1000.0]])


places = st.lists(st.floats(0, 1), max_size=8)


def cut(whole: bytes, at: list[float]) -> list[Any]:
    """*whole* in pieces, cut at these shares of it."""
    cuts = sorted(round(share * len(whole)) for share in at)
    return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if a < b]


def asked(data_dir: Path, body: bytes, answer: Answer) -> tuple[FakeDownstream, Totals]:
    """What a client gets of *answer*, and what is counted; nothing is held afterwards."""

    async def run() -> tuple[FakeDownstream, Totals]:
        async with scene_in(data_dir) as scene:
            await scene.endpoint("a", health_check_interval_s=3000)
            scene.on("a", answer)
            reply = await scene.ask(body)
            await scene.settle()
            assert not scene.leases
            assert not scene.open_requests
            assert scene.totals("a").total_requests == len(scene.requests()) == 1
            return reply, scene.totals("a")

    with capture_logs():
        result: tuple[FakeDownstream, Totals] = trio.run(run, clock=MockClock(autojump_threshold=0))
    return result


@some
@given(events=st.lists(st.sampled_from(EVENTS), max_size=12), end=ends, at=places)
def test_any_stream(tmp_path: Path, events: list[bytes], end: list[Any], at: list[float]) -> None:
    """A beginning of what the endpoint sent, but for usage, and one error if that is not all."""
    whole = b"".join(events)
    pieces = cut(whole, at)

    answer = Answer(200, {"content-type": "text/event-stream"}, [*pieces, *end])
    reply, totals = asked(tmp_path, chat(stream=True), answer)

    succeeded = totals.successful_requests == 1
    if reply.aborted:
        # It broke inside an event of which a part had been sent: nothing can follow that.
        assert not succeeded
        assert len(reply.body) > LONGEST
        assert b"".join(shown(whole)).startswith(reply.body)
        return
    if reply.status != 200:
        assert not succeeded
        assert reply.status in (502, 504)
        assert reply.error["type"] in ("upstream_error", "timeout_error")
        return
    head, error, rest = reply.body.partition(b'data: {"error": {"message": "The ')
    assert b"".join(shown(whole)).startswith(head)
    assert bool(error) == (not succeeded)
    assert not error or (rest.endswith(b"}\n\n") and rest.count(b"\n") == 2)
    read = [raw for raw in shown(head) if len(raw) <= LONGEST]
    assert not any(word in raw for raw in read for word in ERRORS)
    done = [raw for raw in read if data_of(raw) == b"[DONE]"]
    assert not done or (succeeded and len(done) == 1 and head.endswith(done[0]))


def shown(whole: bytes) -> list[bytes]:
    """What of *whole* is for a client that did not ask for usage, event by event."""
    scanner, usage = EventScanner(limit_bytes=len(whole)), data_of(event(usage_alone()))
    pieces = [piece.raw for piece in scanner.feed(whole)]
    # An event too long to hold is passed on unread.
    kept = [raw for raw in pieces if data_of(raw) != usage or len(raw) > LONGEST]
    return [*kept, scanner.rest()]


answers = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([completion(), {"error": "oom"}, {"choices": []}, [], None]).map(
        lambda value: json.dumps(value).encode()
    ),
)


@some
@given(
    body=answers,
    status=st.sampled_from([200, 201, 204, 302, 400, 404, 429, 500]),
    end=ends,
    at=places,
)
def test_any_plain_answer(
    tmp_path: Path, body: bytes, status: int, end: list[Any], at: list[float]
) -> None:
    reply, totals = asked(tmp_path, chat(), Answer(status, {}, [*cut(body, at), *end]))

    if reply.status == 200:
        assert reply.body == body
        assert json.loads(body)["choices"]
        assert (status < 300, totals.successful_requests) == (True, 1)
    else:
        assert reply.error
        assert len(reply.pieces) == 1
        assert totals.successful_requests == 0


@pytest.mark.parametrize("n_endpoints", [1, 3])
async def test_an_answer_of_nothing_at_all(scene: Scene, n_endpoints: int) -> None:
    for name in "abc"[:n_endpoints]:
        await scene.endpoint(name)
        scene.on(name, Answer(200, {}, []))

    assert (await scene.ask()).status == (await scene.stream()).status == 502
