"""What each step of a request costs by itself."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from statistics import median

import trio
import trio.testing

from bench.rig import Rig, asked
from llmlb.accounting import FinishedRequest, Outcome, Speed
from llmlb.activity import events_of
from llmlb.actors.admission import Ready
from llmlb.actors.latency import Observed
from llmlb.http.access.gate import Knock
from llmlb.http.access.needs import INFERENCE
from llmlb.http.reading import read_request
from llmlb.http.vision.finding import find_images
from llmlb.http.ways import ways_for
from llmlb.records import RequestRecord
from llmlb.routing import admission_control
from llmlb.types import Api

TIMES, ROUNDS = 1000, 7

API = Api.CHAT_COMPLETIONS


async def steps_of(rig: Rig) -> dict[str, float]:
    """µs of each step: what is told is counted to its end, without what the database takes."""
    found = {}
    record = await _a_record(rig)
    for name, step in _steps(rig, record):
        found[name] = await _cost_us(rig, step)
    return found | {"admission: ask, lease, release": await lease_us(rig)}


async def lease_us(rig: Rig) -> float:
    """µs of one lease, from the ask until it is back."""
    return await _cost_us(rig, None, lambda: _lease(rig))


async def _a_record(rig: Rig) -> RequestRecord:
    await rig.serve()
    return next(rig.house.recent.newest_first())


def _steps(rig: Rig, record: RequestRecord) -> Iterator[tuple[str, Callable[[], object]]]:
    house, knock = rig.house, Knock.of(asked())
    gate = rig.exchange.gate
    caller = gate.admit(INFERENCE, knock)
    attempt = record.attempts[-1]
    finished = FinishedRequest(
        attempt.endpoint_id,
        attempt.model,
        API,
        Outcome.SUCCEEDED,
        record.finished_at,
        attempt.duration_ms,
        attempt.time_to_first_token_ms,
        attempt.usage,
    )
    observed = Observed(
        attempt.endpoint_id, attempt.model, API, Speed(attempt.duration_ms), record.finished_at
    )
    body = b'{"model": "model-0", "messages": [{"role": "user", "content": "Hi"}]}'
    request = read_request(API, "/v1/chat/completions", body)
    catalog = house.registry.catalog

    def tell_events() -> None:
        for event in events_of(record):
            house.tell_event(event)

    yield "key check", lambda: gate.admit(INFERENCE, knock)
    yield "limits", lambda: rig.exchange.limits.enter(caller.key).__enter__()
    yield (
        "ways",
        lambda: ways_for(request, (request.model,), catalog, needs=request.needs, only=None),
    )
    yield "statistics: the attempt", lambda: house.journal.record(finished)
    yield "statistics: the request", lambda: house.journal.answered(record)
    yield "latency", lambda: house.latency.observed(observed)
    yield "history", lambda: house.history.record(record)
    yield "recent requests", lambda: house.recent.add(record)
    yield "metrics", lambda: rig.metrics.answered(record)
    yield "events", tell_events
    yield "(reading the body)", lambda: read_request(API, "/v1/chat/completions", body)
    yield "(looking for images)", lambda: find_images(body)


async def _cost_us(
    rig: Rig,
    step: Callable[[], object] | None,
    asynchronous: Callable[[], Awaitable[None]] | None = None,
) -> float:
    """The median over some rounds, of which each waits until all that was told is done."""
    took_us = []
    for _ in range(ROUNDS):
        began_s, database_s = time.thread_time(), rig.inline.took_s
        if asynchronous is not None:
            await asynchronous()
        if step is not None:
            for _ in range(TIMES):
                step()
        await trio.testing.wait_all_tasks_blocked()
        spent_s = time.thread_time() - began_s - (rig.inline.took_s - database_s)
        took_us.append(spent_s / TIMES * 1e6)
        await rig.house.journal.flush()
        await rig.house.history.flush()
    return median(took_us)


async def _lease(rig: Rig) -> None:
    settings = rig.house.settings
    for _ in range(TIMES):
        result = await rig.house.admission.wait_for_ready_with_timeout(
            "model-0",
            API,
            settings.queue_max,
            settings.queue_timeout_s,
            decide=admission_control,
        )
        if not isinstance(result, Ready):
            raise TypeError(result)
        result.lease.outcome = Outcome.SUCCEEDED
        result.lease.begun()
        result.lease.release()
