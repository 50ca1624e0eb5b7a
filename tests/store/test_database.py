from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from llmlb.errors import StoreUnavailable
from llmlb.store.connection import connect
from llmlb.store.database import Database, Transaction

CREATE = "CREATE TABLE t (x)"
INSERT = "INSERT INTO t VALUES (?)"
SELECT = "SELECT x FROM t"


class GatedThreads:
    """Runs work in real threads, each only when the test opens the gate."""

    def __init__(self) -> None:
        self.started = trio.Event()
        self.gate = threading.Event()

    async def __call__(self, sync_fn: Callable[[], Any], /) -> Any:
        self.started.set()

        def gated() -> Any:
            self.gate.wait(10)
            return sync_fn()

        return await trio.to_thread.run_sync(gated)


@pytest.fixture
def connection() -> Any:
    connection = connect(":memory:")
    connection.execute(CREATE)
    yield connection
    connection.close()


async def inline(sync_fn: Callable[[], Any], /) -> Any:
    await trio.lowlevel.checkpoint()
    return sync_fn()


def rows(connection: sqlite3.Connection) -> list[Any]:
    return [x for (x,) in connection.execute(SELECT)]


async def test_work_that_fails_leaves_nothing_behind(connection: sqlite3.Connection) -> None:
    database = Database(connection, None, inline)

    def work(statements: Transaction) -> None:
        statements.run(INSERT, 1)
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(work)
    assert rows(connection) == []
    assert not connection.in_transaction


async def test_a_refusal_of_the_database_is_told_without_details(
    connection: sqlite3.Connection,
) -> None:
    database = Database(connection, None, inline)
    with pytest.raises(StoreUnavailable) as refused:
        await database.write(lambda statements: statements.run("INSERT INTO nowhere VALUES (1)"))
    assert "nowhere" not in str(refused.value)
    assert isinstance(refused.value.__cause__, sqlite3.OperationalError)


async def test_a_caller_cancelled_while_its_statement_runs_gets_all_of_it(
    connection: sqlite3.Connection,
) -> None:
    threads = GatedThreads()
    database = Database(connection, None, threads)

    async def write() -> None:
        with scope:
            await database.write(lambda statements: [statements.run(INSERT, n) for n in (1, 2)])

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await threads.started.wait()
        scope.cancel()
        threads.gate.set()
    assert rows(connection) == [1, 2]
    assert await database.read(lambda statements: len(statements.rows(SELECT))) == 2


async def test_a_caller_cancelled_in_line_changes_nothing_and_frees_its_place(
    connection: sqlite3.Connection,
) -> None:
    threads = GatedThreads()
    database = Database(connection, None, threads)
    impatient = trio.CancelScope()

    async def second() -> None:
        with impatient:
            await database.write(lambda statements: statements.run(INSERT, 2))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.write, lambda statements: statements.run(INSERT, 1))
        await threads.started.wait()
        nursery.start_soon(second)
        await trio.testing.wait_all_tasks_blocked()
        impatient.cancel()
        await trio.testing.wait_all_tasks_blocked()
        threads.gate.set()
    assert impatient.cancelled_caught
    assert rows(connection) == [1]
    await database.write(lambda statements: statements.run(INSERT, 3))
    assert rows(connection) == [1, 3]


async def test_values_that_sqlite_cannot_hold_are_held_as_near_as_can_be(
    connection: sqlite3.Connection,
) -> None:
    database = Database(connection, None, inline)

    def work(statements: Transaction) -> None:
        for value in (10**30, -(10**30), "a\ud800b", "nul\0", 1.5, None):
            statements.run(INSERT, value)

    await database.write(work)
    assert rows(connection) == [2**63 - 1, 1 - 2**63, "a\\ud800b", "nul\0", 1.5, None]


async def test_closing_gives_up_on_a_database_that_stays_busy(
    connection: sqlite3.Connection, autojump_clock: MockClock
) -> None:
    async def stuck(_: Callable[[], Any], /) -> Any:
        await trio.sleep_forever()

    database = Database(connection, None, stuck)
    before = trio.current_time()
    await database.close()
    assert trio.current_time() - before == pytest.approx(30)


async def test_closing_works_in_a_cancelled_scope(connection: sqlite3.Connection) -> None:
    released = []

    class Held:
        moved = False

        def release(self) -> None:
            released.append(True)

    database = Database(connection, Held(), inline)
    with trio.CancelScope() as scope:
        scope.cancel()
        await database.close()
    assert released
