"""A model that Ollama fetches, and an Ollama that lies."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from llmlb.http.jobs.lines import LINE_LIMIT_BYTES
from llmlb.http.jobs.pull import MOST_BYTES_PER_S, MOST_LAYERS, PATH, PullMeter, pull
from llmlb.jobs import JobFailed, Progress
from tests.fakes.upstream import (
    Answer,
    FakeUpstream,
    Piece,
    disconnected,
    hangs,
    json_answer,
    make_endpoint,
    refused,
    replies,
)
from tests.http.jobs.conftest import line

STALL_S = 60.0
GIB = 2**30
SUCCESS = line(status="success")
SECRET = "sk-of-the-endpoint"  # pragma: allowlist secret


def layer(digest: str, there: Any, total: Any) -> bytes:
    return line(status=f"pulling {digest}", digest=digest, completed=there, total=total)


async def pulled(*pieces: Piece, upstream: FakeUpstream | None = None) -> list[Progress]:
    """What is told of a pull that Ollama answers with *pieces*. Raises JobFailed."""
    told: list[Progress] = []
    if upstream is None:
        upstream = FakeUpstream()
        upstream.on("http://a:1", "POST", PATH, Answer(200, {}, pieces))
    endpoint = make_endpoint(api_key=SECRET)
    try:
        await pull(upstream, endpoint, "llama3.2:3b", told.append, stall_s=STALL_S)
    finally:
        assert not upstream.open_calls
    (call,) = upstream.calls
    assert call.json == {"model": "llama3.2:3b", "stream": True}
    return told


async def failure(*pieces: Piece, upstream: FakeUpstream | None = None) -> str:
    with pytest.raises(JobFailed) as caught:
        await pulled(*pieces, upstream=upstream)
    return str(caught.value)


async def test_bytes_are_summed_over_layers_and_their_speed_and_end_told() -> None:
    told = await pulled(
        line(status="pulling manifest"),
        1.0,
        layer("a", 0, 8 * GIB),
        *(piece for n in range(1, 9) for piece in (1.0, layer("a", n * GIB, 8 * GIB))),
        layer("b", 5, 5),
        1.0,
        line(status="verifying sha256 digest"),
        1.0,
        SUCCESS,
    )
    assert told[0] == Progress(0, 0, None, "pulling manifest")
    assert told[4] == Progress(3 * GIB, 8 * GIB, told[4].bytes_per_s, "pulling a")
    assert told[4].bytes_per_s == pytest.approx(3 * GIB / 4, rel=0.01)
    assert told[4].left_s == pytest.approx(5 * 4 / 3, rel=0.01)
    assert told[-2].stage == "verifying sha256 digest"
    last = told[-1]
    assert (last.stage, last.fraction, last.total_bytes) == ("success", 1.0, 8 * GIB + 5)


async def test_lines_may_be_cut_anywhere_and_the_last_one_have_no_end() -> None:
    whole = line(status="pulling manifest") + layer("a", 1, 2) + SUCCESS.rstrip(b"\n")
    told = await pulled(*(whole[n : n + 1] for n in range(len(whole))))
    assert told[-1].stage == "success"


async def test_it_is_not_told_of_each_line() -> None:
    many = [piece for n in range(1000) for piece in (0.01, layer("a", n, 1000))]
    assert len(await pulled(*many, SUCCESS)) <= 25


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        ([line(error="pull model manifest: file does not exist")], "file does not exist"),
        ([line(error={"code": 5})], "It failed."),
        ([line(status="pulling manifest")], "broke off before the model was there"),
        ([], "broke off before the model was there"),
        ([b"<html>\n"], "cannot be read"),
        ([b"[1]\n"], "cannot be read"),
        ([b"[" * 30_000 + b"\n"], "cannot be read"),
        ([b"1" * 6000 + b"\n"], "cannot be read"),
        ([b"x" * 1000] * (LINE_LIMIT_BYTES // 1000 + 1), "a line without end"),
        ([layer(str(n), 1, 2) for n in range(MOST_LAYERS + 1)], "more layers than any model has"),
        ([line(status="pulling manifest"), disconnected()], "The answer was cut short."),
    ],
)
async def test_what_is_no_download_says_why(pieces: list[Piece], told: str) -> None:
    assert told in await failure(*pieces)


@pytest.mark.parametrize(
    ("said", "there", "total"),
    [
        ((-5, 10), 0, 10),
        ((5, -10), 0, 0),
        ((20, 10), 10, 10),
        ((True, 10), 0, 10),
        (("9", 10), 0, 10),
        ((5, 2**80), 0, 0),
        ((1.5, 10), 0, 10),
    ],
)
def test_numbers_that_cannot_be_are_not_taken_for_true(
    said: tuple[Any, Any], there: int, total: int
) -> None:
    meter = PullMeter()
    meter.see(layer("a", *said))
    assert (meter.downloaded, meter.total) == (there, total)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=5,
)
_LINES = st.binary(max_size=50) | st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("status", "digest", "total", "completed", "error"), _JSON)
).map(lambda said: json.dumps(said).encode())


@given(st.lists(_LINES, max_size=20))
def test_whatever_an_endpoint_says_it_is_a_share_of_a_whole_or_a_failure(
    said: list[bytes],
) -> None:
    meter = PullMeter()
    for one in said:
        with suppress(JobFailed):
            meter.see(one)
        assert 0 <= meter.downloaded <= meter.total
        assert meter.stage is None or (meter.stage.isprintable() and len(meter.stage) <= 200)


async def test_keep_alive_is_no_progress() -> None:
    same = [piece for _ in range(100) for piece in (10.0, layer("a", 5, 10))]
    began = trio.current_time()
    assert await failure(layer("a", 5, 10), *same) == "It came no further within 60 s."
    assert trio.current_time() - began == pytest.approx(STALL_S, abs=0.1)


async def test_a_slow_download_is_none_that_stalls() -> None:
    slow = [piece for n in range(1, 11) for piece in (STALL_S - 1, layer("a", n, 10))]
    assert (await pulled(*slow, SUCCESS))[-1].fraction == 1.0


async def test_to_go_back_and_forth_is_no_progress() -> None:
    swinging = [
        piece
        for _ in range(100)
        for n in (1, 9)
        for piece in (5.0, layer("a", n, 10), line(status=f"pulling {n}"))
    ]
    assert "no further" in await failure(*swinging)


async def test_an_endpoint_that_never_stops_talking_is_read_slowly_and_given_up() -> None:
    async def flood() -> Any:
        while True:
            yield line(status="pulling manifest") * 1000

    upstream = FakeUpstream()
    upstream.on("http://a:1", "POST", PATH, Answer(200, {}, flood()))
    assert "no further" in await failure(upstream=upstream)
    assert len(b"".join(upstream.calls[0].sent)) <= 2 * STALL_S * MOST_BYTES_PER_S


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        (replies(refused()), "Connection refused."),
        (replies(json_answer({"error": "no such registry"}, 500)), "HTTP 500: no such registry"),
        (hangs, "It came no further within 60 s."),
    ],
)
async def test_an_endpoint_that_does_not_begin(handler: Callable[..., Any], told: str) -> None:
    upstream = FakeUpstream()
    upstream.on("http://a:1", "POST", PATH, handler)
    assert await failure(upstream=upstream) == told


async def test_cancelled_it_closes_the_call() -> None:
    upstream = FakeUpstream()
    pieces = (layer("a", 1, 10), 3600.0)
    upstream.on("http://a:1", "POST", PATH, Answer(200, {}, pieces))
    with trio.move_on_after(5):
        await pulled(upstream=upstream)
    (call,) = upstream.calls
    assert call.closed_at == pytest.approx(5)
    assert call.cancelled


async def test_the_key_that_an_endpoint_repeats_is_not_shown() -> None:
    told = await pulled(line(status=f"pulling with {SECRET}"), SUCCESS)
    assert told[0].stage == "pulling with ***"
    assert await failure(line(error=f"{SECRET} is wrong")) == "*** is wrong"
