"""A database file that is locked, full, moved or gone: what the store says, and what is kept."""

# ruff: noqa: ASYNC240 - these tests look at files, and may block
from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from llmlb.errors import StoreUnavailable
from llmlb.store.health import Condition, Health
from llmlb.store.opening import LOOK_EVERY_S, SILENT_AFTER_S, Store
from tests.fakes.trouble import FOR_GOOD, PASSING, WHOLE, integrity, moved_away
from tests.store.conftest import MakeEndpoint, OpenStore

REASONS = {
    "locked": "another program keeps it locked",
    "full": "its disk is full",
    "read-only": "it is not writable",
}
MOVED = "its file was moved, removed or replaced"

every_passing_trouble = pytest.mark.parametrize("name", PASSING)
every_lasting_trouble = pytest.mark.parametrize("name", FOR_GOOD)


@pytest.fixture
async def kept(opened: OpenStore, database: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store on a file, that does not wait for locks."""
    monkeypatch.setattr("llmlb.store.connection.BUSY_TIMEOUT_S", 0.01)
    return await opened()


async def names(store: Store) -> list[str]:
    return [e.name for e in await store.endpoints.all()]


@every_passing_trouble
async def test_a_write_is_refused_with_a_reason_and_a_remedy_and_changes_nothing(
    kept: Store, database: Path, endpoint: MakeEndpoint, name: str
) -> None:
    await kept.endpoints.insert(endpoint(name="before"))
    with PASSING[name](kept, database):
        with pytest.raises(StoreUnavailable) as refused:
            await kept.endpoints.insert(endpoint(name="refused", notes="n" * 100_000))
        reason = REASONS.get(name, MOVED)
        said = str(refused.value)
        assert said.startswith(f"The database is not available ({reason}) and nothing was changed:")
        assert str(database.parent) not in said
        assert refused.value.retry_after_s is not None
        assert kept.health.condition.reason == reason
    assert await names(kept) == ["before"]
    await kept.endpoints.insert(endpoint(name="after"))
    assert kept.health.condition.well
    assert await names(kept) == ["before", "after"]
    assert integrity(database) == WHOLE


@every_passing_trouble
async def test_what_was_committed_before_is_there_after_a_restart(
    kept: Store, opened: OpenStore, database: Path, endpoint: MakeEndpoint, name: str
) -> None:
    await kept.endpoints.insert(endpoint(name="before"))
    with PASSING[name](kept, database), pytest.raises(StoreUnavailable):
        await kept.endpoints.insert(endpoint(name="refused", notes="n" * 100_000))
    await kept.close()
    assert integrity(database) == WHOLE
    assert await names(await opened()) == ["before"]


@every_lasting_trouble
async def test_nothing_is_written_to_a_file_that_is_gone_until_a_restart(
    kept: Store, opened: OpenStore, database: Path, endpoint: MakeEndpoint, name: str
) -> None:
    await kept.endpoints.insert(endpoint(name="before"))
    FOR_GOOD[name](database)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="put it back, or restart llmlb"):
            await kept.endpoints.insert(endpoint(name="refused"))
    assert kept.health.condition.reason == MOVED
    await kept.close()
    after = await opened()
    await after.endpoints.insert(endpoint(name="after"))
    replaced = name == "file replaced"
    assert await names(after) == (["before", "after"] if replaced else ["after"])
    assert integrity(database) == WHOLE


async def test_closing_leaves_the_log_of_the_database_alone_that_took_its_place(
    kept: Store, database: Path
) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{database}{suffix}").unlink()
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("PRAGMA journal_mode = WAL")
    other.execute("CREATE TABLE t (x)")
    await kept.close()
    assert Path(f"{database}-wal").exists()
    other.execute("INSERT INTO t VALUES (1)")
    other.close()
    assert integrity(database) == WHOLE


async def test_a_file_that_vanishes_during_a_transaction_takes_nothing_of_it(
    kept: Store, database: Path, endpoint: MakeEndpoint
) -> None:
    one = endpoint()
    with pytest.raises(StoreUnavailable):
        await kept._database.write(
            lambda statements: (
                statements.run("UPDATE schema_migrations SET name = 'changed'"),
                database.rename(database.with_suffix(".elsewhere")),
            )
        )
    database.with_suffix(".elsewhere").rename(database)
    applied = await kept._database.read(
        lambda statements: statements.rows("SELECT name FROM schema_migrations")
    )
    assert {"name": "changed"} not in applied
    await kept.endpoints.insert(one)


async def test_nobody_waits_long_for_a_lock_that_is_known_to_be_held(
    kept: Store, database: Path, endpoint: MakeEndpoint
) -> None:
    def patience_ms() -> int:
        (found,) = kept._database._connection.execute("PRAGMA busy_timeout").fetchone()
        return int(found)

    with PASSING["locked"](kept, database):
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await kept.endpoints.insert(endpoint())
        assert patience_ms() == 50
    for _ in range(2):
        await kept.endpoints.insert(endpoint())
    assert patience_ms() == 5000


# -- a disk that really is full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of half a MiB, where this user may have one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


async def test_a_full_disk_refuses_and_recovers_without_damage(
    opened: OpenStore, endpoint: MakeEndpoint, small_disk: Path
) -> None:
    database = small_disk / "data" / "llmlb.db"
    store = await opened(f"sqlite:{database}", data_dir=database.parent)
    await store.endpoints.insert(endpoint(name="before"))
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65_536, 4096, 1):
            while _fits(file, size):
                pass
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="its disk is full"):
            await store.endpoints.insert(endpoint(name="refused", notes="n" * 50_000))
    assert await names(store) == ["before"]
    assert integrity(database) == WHOLE
    ballast.unlink()
    await store.endpoints.insert(endpoint(name="after", notes="n" * 50_000))
    assert await names(store) == ["before", "after"]
    assert store.health.condition.well
    await store.close()
    assert integrity(database) == WHOLE


def _fits(file: object, size: int) -> bool:
    try:
        return bool(file.write(b"x" * size))  # type: ignore[attr-defined]  # a raw file
    except OSError:
        return False


# -- being looked after


@pytest.fixture
async def watched(kept: Store, nursery: trio.Nursery) -> Store:
    """To be used with a clock that jumps."""
    nursery.start_soon(kept.watch)
    return kept


def changes_of(store: Store) -> list[Condition]:
    """Each condition that it will tell."""
    told: list[Condition] = []
    store.health.on_changed = told.append
    return told


async def test_a_file_that_vanishes_is_noticed_though_nobody_writes(
    watched: Store, database: Path, autojump_clock: MockClock
) -> None:
    changes = changes_of(watched)
    await trio.sleep(60)
    assert changes == []
    with moved_away(watched, database):
        await trio.sleep(LOOK_EVERY_S + 1)
        assert [c.reason for c in changes] == [MOVED]
        await trio.sleep(60)
        assert len(changes) == 1, "said once"
    await trio.sleep(LOOK_EVERY_S + 1)
    assert [c.well for c in changes] == [False, True]


@every_passing_trouble
async def test_it_is_well_again_by_itself_though_nobody_writes(
    watched: Store,
    database: Path,
    endpoint: MakeEndpoint,
    autojump_clock: MockClock,
    name: str,
) -> None:
    changes = changes_of(watched)
    with PASSING[name](watched, database):
        with pytest.raises(StoreUnavailable):
            await watched.endpoints.insert(endpoint(notes="n" * 100_000))
        await trio.sleep(60)
        if name != "full":  # what changes nothing needs no new page either
            assert not watched.health.condition.well
    await trio.sleep(LOOK_EVERY_S + 1)
    assert watched.health.condition.well
    assert [c.well for c in changes] == [False, True]
    assert changes[0].since_s <= changes[1].since_s - (0 if name == "full" else 60)


async def test_a_disk_that_does_not_answer_is_noticed(
    opened: OpenStore, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    answers = trio.Event()
    answers.set()

    async def on_a_disk_that_hangs(work: object, /) -> object:
        await answers.wait()
        return work()  # type: ignore[operator]  # as a thread would run it

    store = await opened(run_in_thread=on_a_disk_that_hangs)
    answers = trio.Event()
    nursery.start_soon(store.watch)
    await trio.sleep(SILENT_AFTER_S)
    assert store.health.condition.well
    await trio.sleep(2 * LOOK_EVERY_S)
    assert store.health.condition.reason == "it does not answer"
    answers.set()
    await trio.sleep(LOOK_EVERY_S + 1)
    assert store.health.condition.well


def test_a_new_reason_is_told_but_the_trouble_is_as_old_as_it_is() -> None:
    now_s = 10.0
    health = Health(lambda: now_s)
    told: list[Condition] = []
    health.on_changed = told.append
    health.written()
    assert told == []
    health.failed("full")
    now_s = 20.0
    health.failed("full")
    health.failed("locked")
    assert told == [Condition("full", 10.0), Condition("locked", 10.0)]
    now_s = 30.0
    health.written()
    health.written()
    assert told[2:] == [Condition(None, 30.0)]
