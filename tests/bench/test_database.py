"""The large database is one that llmlb can open, with all that was asked for in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.database import _fill_store
from llmlb.store.opening import open_store
from tests.fakes.accounts import user
from tests.fakes.house import run_inline
from tests.fakes.upstream import make_endpoint


async def test_keys_and_requests_are_there_and_none_is_too_old(tmp_path: Path) -> None:
    store = await open_store("sqlite::memory:", data_dir=tmp_path, run_in_thread=run_inline)
    await store.accounts.change([user()], ())
    await store.endpoints.insert(make_endpoint())

    await _fill_store(store, keys=20, rows=2_500)

    assert len((await store.accounts.all()).keys) == 20
    assert (await store.history.size())[0] == 2_500
    week = datetime.now(UTC) - timedelta(days=7)
    assert await store.history.prune(week, 1_000_000, 2**31) == 0
    await store.close()
