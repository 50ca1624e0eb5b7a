"""Which way a body comes in, in memory or on disk, and that everything is given back."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib
from pathlib import Path

import pytest
import trio
import trio.testing

from llmlb.errors import LbError, Overloaded, RequestTooLarge, UnsupportedMediaType
from llmlb.http.bodies import BodyBudget
from llmlb.http.intake.form import Form
from llmlb.http.intake.reception import MANAGEMENT_LIMIT_BYTES, UPLOAD_PATHS, Reception
from llmlb.http.intake.spool import Spool
from llmlb.http.intake.whole import WaitingBody
from tests.fakes.forms import CONTENT_TYPE, Fields, form_bytes
from tests.fakes.house import run_inline

CHAT, MANAGEMENT, UPLOAD = "/v1/chat/completions", "/api/endpoints", "/v1/audio/transcriptions"

FORM = {"content-type": CONTENT_TYPE}


@pytest.fixture
def reception(tmp_path: Path) -> Reception:
    return Reception(
        BodyBudget(10_000),
        Spool(tmp_path, 10_000_000, run_inline),
        max_body_bytes=2_000_000,
        max_upload_bytes=3_000_000,
        progress_timeout_s=30,
    )


def idle(reception: Reception) -> bool:
    return reception.budget.held_bytes == 0 and reception.spool.held_bytes == 0


async def test_a_body_that_fits_is_held_in_memory(reception: Reception) -> None:
    intake = reception.intake_for(CHAT, {})
    await intake.take(b"a" * 6000)
    await intake.take(b"b")
    assert reception.budget.held_bytes == 6001
    assert await intake.finish() == b"a" * 6000 + b"b"
    assert reception.budget.held_bytes == 6001
    intake.close()
    intake.close()
    assert idle(reception)


async def test_a_body_is_given_away_without_a_copy(reception: Reception) -> None:
    reception.budget.limit_bytes = 2_000_000
    intake = reception.intake_for(CHAT, {})
    tracemalloc.start()
    try:
        for _ in range(30):
            await intake.take(bytes(64_000))
        tracemalloc.reset_peak()
        before_bytes = tracemalloc.get_traced_memory()[0]
        whole = await intake.finish()
        added_bytes = tracemalloc.get_traced_memory()[1] - before_bytes
    finally:
        tracemalloc.stop()
    assert whole == bytes(30 * 64_000)
    assert added_bytes < 100_000
    intake.close()


async def test_what_was_in_memory_moves_to_disk_piece_by_piece(reception: Reception) -> None:
    reception.budget.limit_bytes = 1_800_000
    first, second = (reception.intake_for(CHAT, {}) for _ in range(2))
    await first.take(b"a" * 900_000)
    for letter in b"bcd":
        await second.take(bytes([letter]) * 400_000)
    assert reception.budget.held_bytes == 900_000
    assert reception.spool.held_bytes > 900_000
    waiting = await second.finish()
    assert isinstance(waiting, WaitingBody)
    first.close()
    assert await waiting.read_back(5) == b"b" * 400_000 + b"c" * 400_000 + b"d" * 400_000
    second.close()
    assert idle(reception)


async def test_a_body_that_does_not_fit_waits_on_disk_for_its_turn(reception: Reception) -> None:
    first = reception.intake_for(CHAT, {})
    await first.take(b"a" * 6000)
    second = reception.intake_for(CHAT, {})
    for _ in range(6):
        await second.take(b"b" * 1000)
    assert reception.budget.held_bytes == 6000
    waiting = await second.finish()
    assert isinstance(waiting, WaitingBody)
    read: list[bytes] = []

    async def wait() -> None:
        read.append(await waiting.read_back(5))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert read == []
        first.close()
    assert read == [b"b" * 6000]
    assert reception.budget.held_bytes == 6000
    second.close()
    assert idle(reception)


async def test_it_does_not_wait_for_ever(
    reception: Reception, autojump_clock: trio.testing.MockClock
) -> None:
    first, second = (reception.intake_for(CHAT, {}) for _ in range(2))
    for intake in (first, second):
        await intake.take(b"a" * 6000)
    waiting = await second.finish()
    assert isinstance(waiting, WaitingBody)
    with pytest.raises(Overloaded):
        await waiting.read_back(5)
    assert trio.current_time() == pytest.approx(5)
    first.close()
    second.close()
    assert idle(reception)


async def test_a_body_that_will_never_fit_is_refused_at_once(reception: Reception) -> None:
    intake = reception.intake_for(CHAT, {})
    with pytest.raises(Overloaded):
        await intake.take(bytes(10_001))
    with pytest.raises(Overloaded):
        await reception.budget.wait(10_001)
    intake.close()
    assert idle(reception)


async def test_those_who_wait_for_memory_get_it_in_their_order_whoever_leaves() -> None:
    for seed in range(100):
        rng = random.Random(seed)
        budget = BodyBudget(100)
        assert budget.take(100)
        served: list[int] = []
        scopes = []

        async def wait(number: int, size: int, scope: trio.CancelScope, budget: BodyBudget) -> None:
            with scope:
                await budget.wait(size)
                served.append(number)  # noqa: B023 - awaited in this turn of the loop
                await trio.lowlevel.checkpoint()
            if number in served:  # noqa: B023
                budget.give_back(size)

        async with trio.open_nursery() as nursery:
            for number in range(8):
                scope = trio.CancelScope()
                scopes.append(scope)
                nursery.start_soon(wait, number, rng.randint(51, 100), scope, budget)
                await trio.testing.wait_all_tasks_blocked()
            for scope in rng.sample(scopes, 3):
                scope.cancel()
                if rng.random() < 0.5:
                    await trio.lowlevel.checkpoint()
            budget.give_back(100)
        assert budget.held_bytes == 0, seed
        assert served == sorted(served), seed


async def test_a_newcomer_that_fits_does_not_wait_behind_a_large_one() -> None:
    budget = BodyBudget(100)
    assert budget.take(60)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(budget.wait, 50)
        await trio.testing.wait_all_tasks_blocked()
        assert budget.take(10)
        budget.give_back(60)
    assert budget.held_bytes == 60


async def test_a_form_is_taken_apart(reception: Reception) -> None:
    intake = reception.intake_for(UPLOAD, FORM)
    fields: Fields = {"model": "tiny", "file": ("a", "a/b", bytes(1_000_000))}
    await intake.take(form_bytes(fields))
    form = await intake.finish()
    assert isinstance(form, Form)
    assert form.value("model") == "tiny"
    assert reception.budget.held_bytes == 0
    intake.close()
    assert idle(reception)


@pytest.mark.parametrize("path", [CHAT, MANAGEMENT, "/v1/responses"])
def test_a_form_for_any_other_route_is_415(reception: Reception, path: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="JSON"):
        reception.intake_for(path, FORM)


@pytest.mark.parametrize("path", sorted(UPLOAD_PATHS))
@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/mixed; boundary=b"])
def test_anything_but_a_form_for_an_upload_is_415(
    reception: Reception, path: str, content_type: str
) -> None:
    with pytest.raises(UnsupportedMediaType, match="multipart/form-data"):
        reception.intake_for(path, {"content-type": content_type})


LIMITS = {
    CHAT: 2_000_000,
    "/api/endpoints/x/chat/completions": 2_000_000,
    "/v0/endpoints/x/chat/completions": 2_000_000,
    MANAGEMENT: MANAGEMENT_LIMIT_BYTES,
    "/api/endpoints/x/y/chat/completions": MANAGEMENT_LIMIT_BYTES,
    UPLOAD: 3_000_000,
}


@pytest.mark.parametrize("path", LIMITS)
def test_each_route_has_its_limit(reception: Reception, path: str) -> None:
    headers = FORM if path in UPLOAD_PATHS else {}
    reception.intake_for(path, {**headers, "content-length": str(LIMITS[path])})
    with pytest.raises(RequestTooLarge):
        reception.intake_for(path, {**headers, "content-length": str(LIMITS[path] + 1)})
    for odd in ("", "x", "-1", "9" * 20):
        reception.intake_for(path, {**headers, "content-length": odd})


async def test_the_limit_is_on_what_a_body_unpacks_to(reception: Reception) -> None:
    headers = {"content-encoding": "gzip"}
    bomb = gzip.compress(bytes(100_000_000))
    intake = reception.intake_for(MANAGEMENT, headers)
    with pytest.raises(LbError) as caught:
        await intake.take(bomb)
    assert caught.value.http_status() in (413, 503)
    intake.close()
    assert idle(reception)


async def test_the_limit_is_on_what_comes_in_as_well(reception: Reception) -> None:
    headers = {"content-encoding": "deflate"}
    with pytest.raises(RequestTooLarge):
        reception.intake_for(CHAT, {**headers, "content-length": str(LIMITS[CHAT] + 1)})
    packing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    nothing = packing.flush(zlib.Z_FULL_FLUSH) * 100_000  # empty blocks, as many as one likes
    intake = reception.intake_for(CHAT, headers)
    for _ in range(4):
        await intake.take(nothing)
    with pytest.raises(RequestTooLarge):
        await intake.take(nothing)
    intake.close()
    assert idle(reception)


async def test_a_compressed_body_is_unpacked(reception: Reception) -> None:
    intake = reception.intake_for(CHAT, {"content-encoding": "gzip"})
    for piece in (packed := gzip.compress(b"hello" * 1000))[:10], packed[10:]:
        await intake.take(piece)
    assert await intake.finish() == b"hello" * 1000
    intake.close()
    assert idle(reception)


async def test_a_compressed_form_is_unpacked(reception: Reception) -> None:
    intake = reception.intake_for(UPLOAD, {**FORM, "content-encoding": "gzip"})
    await intake.take(gzip.compress(form_bytes({"model": "tiny"})))
    form = await intake.finish()
    assert isinstance(form, Form)
    assert form.value("model") == "tiny"
    intake.close()


async def test_a_compressed_body_that_is_cut_is_400(reception: Reception) -> None:
    intake = reception.intake_for(CHAT, {"content-encoding": "gzip"})
    await intake.take(gzip.compress(b"hello")[:-1])
    with pytest.raises(LbError) as caught:
        await intake.finish()
    assert caught.value.error_code() == "invalid_encoding"
    intake.close()
