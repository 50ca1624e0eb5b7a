"""A large database, as llmlb's own store writes it: many keys, and a long history."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path

import trio

from bench.balancer import Llmlb
from bench.building import say
from bench.contenders import Scene
from bench.places import BUILD
from llmlb.accounting import Outcome, Usage
from llmlb.accounts import VIEWER_PERMISSIONS, ApiKey, KeyId, UserId
from llmlb.accounts.credentials import PREFIX_CHARS, digest_of, new_api_key
from llmlb.records import Attempt, Candidate, Decision, RequestRecord, View
from llmlb.store.opening import Store, open_store
from llmlb.types import Api, Endpoint

ROWS_AT_ONCE = 2_000
SPREAD = timedelta(days=3)
"""The requests came in the course of it; retention, at 7 days, takes none of them."""
KEPT_S = 86_400.0
"""A database that was made is used again for so long."""


def large_database(balancer: Llmlb, scene: Scene, keys: int, rows: int) -> Scene:
    """*scene* with a database of so much, which is made unless there is one. Blocks."""
    place = BUILD / f"database-{keys}-{rows}"
    note = place / "made.json"
    if not _can_be_used(note, scene.stub_port):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        say(f"writing {keys:,} keys and {rows:,} requests into {place.name}")
        made = balancer.prepare(Scene(scene.stub_port, scene.key, place))
        fill(place / "data", keys, rows)
        said = {"key": made.key, "stub_port": scene.stub_port, "made_at_s": time.time()}
        note.write_text(json.dumps(said))
    said = json.loads(note.read_text())
    return Scene(said["stub_port"], said["key"], place)


def _can_be_used(note: Path, stub_port: int) -> bool:
    if not note.exists():
        return False
    said = json.loads(note.read_text())
    fresh: bool = time.time() - said["made_at_s"] < KEPT_S
    return fresh and said["stub_port"] == stub_port


def fill(data_dir: Path, keys: int, rows: int) -> None:
    """Add so many keys and requests to the database of a balancer that has stopped. Blocks.

    There must be a user, to own the keys, and an endpoint, to have answered.
    """
    trio.run(partial(_fill, data_dir, keys, rows))


async def _fill(data_dir: Path, keys: int, rows: int) -> None:
    store = await open_store(f"sqlite:{data_dir / 'llmlb.db'}", data_dir=data_dir)
    try:
        await _fill_store(store, keys, rows)
    finally:
        await store.close()


async def _fill_store(store: Store, keys: int, rows: int) -> None:
    now = datetime.now(UTC)
    owner = next(iter((await store.accounts.all()).users))
    endpoint = (await store.endpoints.all())[0]
    made = [_key(number, owner, now) for number in range(keys)]
    await store.accounts.change(made, ())
    records = _records(rows, endpoint, [key.id for key in made], owner, now)
    while burst := list(islice(records, ROWS_AT_ONCE)):
        await store.history.write(burst)


def _key(number: int, owner: UserId, now: datetime) -> ApiKey:
    secret = new_api_key()
    return ApiKey(
        id=KeyId(f"bench-{number}"),
        owner=owner,
        name=f"client {number}",
        prefix=secret[:PREFIX_CHARS],
        digest=digest_of(secret),
        created_at=now,
        permissions=VIEWER_PERMISSIONS,
    )


def _records(
    n: int, endpoint: Endpoint, keys: list[KeyId], owner: UserId, now: datetime
) -> Iterator[RequestRecord]:
    """Chats that went well, the oldest first."""
    usage = Usage(9, 100, 109)
    view = View((Candidate(endpoint.id, endpoint.name, 12.5, 3, 64, None),))
    for number in range(n):
        arrived_at = now - SPREAD * (1 - number / n)
        duration_ms = 40.0 + number % 400
        yield RequestRecord(
            id=f"bench-{number}",
            request_id=f"bench-{number}",
            arrived_at=arrived_at,
            finished_at=arrived_at + timedelta(milliseconds=duration_ms),
            api=Api.CHAT_COMPLETIONS,
            path="/v1/chat/completions",
            stream=number % 2 == 0,
            model="stub",
            known_model=True,
            served_model="stub",
            endpoint_id=endpoint.id,
            endpoint_name=endpoint.name,
            only=False,
            key_id=keys[number % len(keys)] if keys else None,
            user_id=owner,
            client_address=f"10.0.{number // 250 % 250}.{number % 250}",
            outcome=Outcome.SUCCEEDED,
            status=200,
            error_code=None,
            error_message=None,
            waited_ms=0.1,
            duration_ms=duration_ms,
            time_to_first_token_ms=10.0,
            usage=usage,
            request_bytes=300,
            response_bytes=20_000,
            decisions=(Decision("stub", 0.2, 0.1, "granted", endpoint.id, view),),
            attempts=(
                Attempt(
                    endpoint.id,
                    endpoint.name,
                    "stub",
                    0.3,
                    duration_ms - 1,
                    10.0,
                    Outcome.SUCCEEDED,
                    usage=usage,
                ),
            ),
        )
