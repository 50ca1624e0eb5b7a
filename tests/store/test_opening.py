# ruff: noqa: ASYNC240 - these tests look at files, and may block
from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio
from filelock import FileLock

from llmlb.errors import StartupError, StoreUnavailable
from llmlb.store import files
from llmlb.store.connection import connect
from llmlb.store.faults import startup_error, unavailable
from llmlb.store.opening import Store, open_store
from tests.store.conftest import MakeEndpoint, OpenStore


async def refusal(opened: OpenStore, **options: Any) -> str:
    with pytest.raises(StartupError) as refused:
        await opened(**options)
    sentence = str(refused.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_new_database_is_for_its_owner_alone(
    opened: OpenStore, database: Path, endpoint: MakeEndpoint
) -> None:
    store = await opened()
    await store.endpoints.insert(endpoint(api_key="secret"))
    assert mode(database.parent) == 0o700
    for suffix in ("", "-wal", "-shm", ".lock"):
        assert mode(Path(f"{database}{suffix}")) == 0o600


async def test_a_database_that_all_could_read_is_closed_to_them(
    opened: OpenStore, database: Path
) -> None:
    await (await opened()).close()
    database.chmod(0o644)
    await opened()
    assert mode(database) == 0o600


async def test_a_database_whose_mode_cannot_change_is_still_opened(
    opened: OpenStore, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await opened()).close()
    database.chmod(0o644)

    def refuse(path: Path, _mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    await (await opened()).ping()


async def test_durability_settings_are_on(opened: OpenStore) -> None:
    store = await opened()
    settings = ("journal_mode", "synchronous", "foreign_keys")
    found = await store._database.run(
        lambda opened: [opened.execute(f"PRAGMA {name}").fetchone()[0] for name in settings]
    )
    assert found == ["wal", 2, 1]


async def test_a_store_in_memory_works_without_a_file(
    store: Store, endpoint: MakeEndpoint, tmp_path: Path
) -> None:
    await store.endpoints.insert(endpoint())
    await store.ping()
    assert len(await store.endpoints.all()) == 1
    assert not list(tmp_path.rglob("*.db*"))


async def test_a_closed_store_is_unavailable_and_can_be_closed_again(store: Store) -> None:
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.ping()


async def test_it_works_in_real_threads(database: Path) -> None:
    store = await open_store(f"sqlite:{database}", data_dir=database.parent)
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(store.ping)
    await store.close()


async def test_a_second_opening_is_refused_until_the_first_is_closed(
    opened: OpenStore, database: Path
) -> None:
    first = await opened()
    assert f"{database} is in use by another llmlb" in await refusal(opened)
    await first.ping()
    await first.close()
    await opened()


HOLDER = """
import sys, trio
from pathlib import Path
from llmlb.store.opening import open_store
from tests.store.conftest import OpenStore, MakeEndpoint
async def main():
    path = Path(sys.argv[1])
    store = await open_store(f"sqlite:{path}", data_dir=path.parent)
    print("open", flush=True)
    await trio.sleep_forever()
trio.run(main)
"""


@contextmanager
def another_process(database: Path) -> Iterator[None]:
    """Another process that has the database open, and is killed at the end."""
    command = [sys.executable, "-c", HOLDER, str(database)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"open\n"
            yield
        finally:
            other.kill()


async def test_another_process_holds_it_until_it_is_killed(
    opened: OpenStore, database: Path
) -> None:
    with another_process(database):
        assert "in use" in await refusal(opened)
    await opened()


async def test_a_start_that_fails_holds_nothing(opened: OpenStore, database: Path) -> None:
    database.parent.mkdir()
    database.write_bytes(b"this is no database" * 100)
    await refusal(opened)
    with FileLock(f"{database}.lock", timeout=0):
        pass
    database.unlink()
    await opened()


async def test_a_start_that_is_cancelled_holds_nothing(opened: OpenStore) -> None:
    with trio.CancelScope() as scope:

        def leave_while_it_opens() -> datetime:
            scope.cancel()
            return datetime.now(UTC)

        await opened(now=leave_while_it_opens)
    assert scope.cancelled_caught
    await opened()


async def test_a_file_that_is_no_database_is_named(opened: OpenStore, database: Path) -> None:
    database.parent.mkdir()
    database.write_bytes(b"this is no database" * 100)
    said = await refusal(opened)
    assert str(database) in said
    assert "not an SQLite database" in said


async def test_a_damaged_database_is_named(opened: OpenStore, database: Path) -> None:
    await (await opened()).close()
    content = bytearray(database.read_bytes())
    content[100:4096] = b"\xff" * 3996
    database.write_bytes(content)
    assert "damaged" in await refusal(opened)


async def test_the_database_of_another_program_is_left_alone(
    opened: OpenStore, database: Path
) -> None:
    database.parent.mkdir()
    with sqlite3.connect(database) as other:
        other.execute("CREATE TABLE songs (title TEXT)")
    other.close()
    before = database.read_bytes()
    assert "another program" in await refusal(opened)
    assert database.read_bytes() == before


async def test_a_foreign_table_of_migrations_is_not_taken_for_ours(
    opened: OpenStore, database: Path
) -> None:
    database.parent.mkdir()
    with sqlite3.connect(database) as other:
        other.execute("CREATE TABLE schema_migrations (version TEXT)")
    other.close()
    assert "another program" in await refusal(opened)


async def test_a_database_of_the_rust_llmlb_is_not_used_as_ours(
    opened: OpenStore, database: Path
) -> None:
    database.parent.mkdir()
    with sqlite3.connect(database) as other:
        other.execute("CREATE TABLE _sqlx_migrations (version BIGINT)")
    other.close()
    before = database.read_bytes()
    said = await refusal(opened)
    assert "Rust" in said
    assert "load balancer.db" in said
    assert database.read_bytes() == before


async def test_an_empty_file_becomes_a_database(opened: OpenStore, database: Path) -> None:
    database.parent.mkdir()
    database.touch()
    await (await opened()).ping()


async def test_a_directory_in_place_of_the_database_is_named(
    opened: OpenStore, database: Path
) -> None:
    database.mkdir(parents=True)
    assert f"{database} cannot be used (Is a directory)" in await refusal(opened)


async def test_a_file_in_place_of_the_directory_is_named(opened: OpenStore, database: Path) -> None:
    database.parent.touch()
    assert str(database.parent) in await refusal(opened)


async def test_a_place_where_nobody_may_write_is_named(opened: OpenStore, tmp_path: Path) -> None:
    said = await refusal(opened, url="sqlite:/proc/llmlb.db", data_dir=tmp_path)
    assert "/proc/llmlb.db cannot be used" in said


async def test_a_lock_that_cannot_be_made_is_not_taken_for_a_running_llmlb(
    opened: OpenStore, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "FileLock", lambda *_, **__: FileLock("/proc/llmlb.lock", timeout=0))
    assert "cannot be made" in await refusal(opened)


async def test_a_lock_that_the_disk_refuses_is_named(opened: OpenStore, database: Path) -> None:
    Path(f"{database}.lock").mkdir(parents=True)
    assert str(database) in await refusal(opened)


async def test_a_database_that_another_program_locks_is_named(
    opened: OpenStore, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await opened()).close()
    monkeypatch.setattr("llmlb.store.connection.BUSY_TIMEOUT_S", 0.01)
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert "another program keeps it locked" in await refusal(opened)
    other.close()


@pytest.mark.parametrize(
    ("setting", "why"),
    [("PRAGMA max_page_count = 1", "its disk is full"), ("PRAGMA query_only = 1", "not writable")],
)
async def test_a_full_or_read_only_disk_is_named(
    opened: OpenStore, database: Path, monkeypatch: pytest.MonkeyPatch, setting: str, why: str
) -> None:
    monkeypatch.setattr("llmlb.store.connection._SETTINGS", ("PRAGMA journal_mode = WAL", setting))
    said = await refusal(opened)
    assert str(database) in said
    assert why in said


async def test_a_disk_that_fills_up_during_an_import_stops_the_start(
    opened: OpenStore, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await opened()).close()
    file = database.parent / "endpoints.json"
    file.write_text('[{"name": "a", "base_url": "http://a", "notes": "%s"}]' % ("n" * 100_000))
    monkeypatch.setattr("llmlb.store.connection._SETTINGS", ("PRAGMA max_page_count = 1",))
    assert "its disk is full" in await refusal(opened)
    assert file.exists()


async def test_a_disk_that_fills_up_later_changes_nothing(
    store: Store, endpoint: MakeEndpoint
) -> None:
    await store.endpoints.insert(endpoint())
    await store._database.run(lambda opened: opened.execute("PRAGMA max_page_count = 1"))
    with pytest.raises(StoreUnavailable, match="its disk is full"):
        await store.endpoints.insert(endpoint(notes="n" * 1_000_000))
    assert len(await store.endpoints.all()) == 1


def test_every_failure_has_a_reason_and_a_remedy() -> None:
    unknown = sqlite3.OperationalError("something odd")
    assert str(startup_error(unknown, Path("/x.db"))) == (
        "The database /x.db cannot be used (something odd): check the file, "
        "or set LLMLB_DATABASE_URL to another file."
    )
    assert "odd" not in str(unavailable(unknown))


def test_texts_that_are_not_utf8_can_be_read() -> None:
    connection = connect(":memory:")
    assert connection.execute("SELECT CAST(x'ff41' AS TEXT)").fetchone() == ("\ufffdA",)
    connection.close()
