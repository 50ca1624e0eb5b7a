"""One connection behind one slot: who may run statements, and what holds them together."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import structlog
import trio

from llmlb.store.columns import Value, storable
from llmlb.store.faults import FileMoved, reason, unavailable
from llmlb.store.health import Health

log = structlog.get_logger()

T = TypeVar("T")

CLOSE_TIMEOUT_S = 30.0

_PATIENT, _IMPATIENT = "PRAGMA busy_timeout = 5000", "PRAGMA busy_timeout = 50"
"""How many ms a lock is waited for."""


class ThreadRunner(Protocol):
    """Runs blocking work off the event loop, as `trio.to_thread.run_sync` does.

    It must not give up on work that has begun, even if its caller is cancelled.
    """

    async def __call__(self, sync_fn: Callable[[], T], /) -> T: ...


class Held(Protocol):
    """What is held as long as the database is open: its files, with their lock."""

    @property
    def moved(self) -> bool: ...
    def release(self) -> None: ...


class Transaction:
    """Statements that take effect together, or not at all."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, statement: str, *values: Value) -> int:
        """Run one statement; how many rows it changed. Raises sqlite3.Error."""
        return self._execute(statement, values).rowcount

    def rows(self, statement: str, *values: Value) -> list[dict[str, Any]]:
        """All rows of a query, by column name. Raises sqlite3.Error."""
        return list(self.each(statement, *values))

    def each(self, statement: str, *values: Value) -> Iterator[dict[str, Any]]:
        """The rows of a query one by one, by column name. Raises sqlite3.Error."""
        cursor = self._execute(statement, values)
        names = [column[0] for column in cursor.description]
        for row in cursor:
            yield dict(zip(names, row, strict=True))

    def _execute(self, statement: str, values: tuple[Value, ...]) -> sqlite3.Cursor:
        """What no column can hold is refused before anything is done, and made to fit then."""
        try:
            return self._connection.execute(statement, values)
        except (OverflowError, UnicodeEncodeError):
            return self._connection.execute(statement, [storable(v) for v in values])


@contextmanager
def transaction(connection: sqlite3.Connection, *, writing: bool = True) -> Iterator[Transaction]:
    """All or nothing, for whoever has the connection to himself. Raises sqlite3.Error."""
    begin = "BEGIN IMMEDIATE" if writing else "BEGIN"
    connection.execute(begin)
    try:
        yield Transaction(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself rolls back when a disk is full
            connection.execute("ROLLBACK")
        raise


class Database:
    """Owns the connection and the lock of its file; one caller at a time has the slot.

    A whole transaction is one piece of work in one thread, so a cancelled caller either never
    began it or gets its end.
    """

    def __init__(
        self, connection: sqlite3.Connection, held: Held | None, run_in_thread: ThreadRunner
    ) -> None:
        self._connection = connection
        self._held = held
        self._run_in_thread = run_in_thread
        # A limiter of one thread would be one slot, but not one owner: sqlite3 must be told
        # that threads change (check_same_thread=False), and the slot be kept by ourselves.
        self._slot = trio.Lock()
        self._began_s: float | None = None
        self._patience = _PATIENT  # as it was opened
        self.health = Health()

    @property
    def busy_for_s(self) -> float | None:
        """How long the work that has the slot is running already; None if there is none."""
        return None if self._began_s is None else trio.current_time() - self._began_s

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run *work* in one transaction, durable on return. Raises StoreUnavailable.

        Bounded in time by SQLite's busy timeout and the work itself; cancel to leave the line.
        """
        return await self._transact(work, writing=True)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run *work*, which only asks. Raises StoreUnavailable."""
        return await self._transact(work, writing=False)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Give *work* the bare connection, outside any transaction, and its own errors."""
        async with self._slot:
            self._began_s = trio.current_time()
            try:
                return await self._run_in_thread(lambda: work(self._connection))
            finally:
                self._began_s = None

    async def close(self) -> None:
        """Close the connection, then release the lock. Closing twice is harmless."""
        with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True) as bound:
            await self.run(self._close)
        if bound.cancelled_caught:
            log.error("the database is still busy and was not closed")

    def _close(self, connection: sqlite3.Connection) -> None:
        try:
            connection.close()
        finally:
            if self._held is not None:
                self._held.release()

    async def _transact(self, work: Callable[[Transaction], T], *, writing: bool) -> T:
        def transact(connection: sqlite3.Connection) -> T:
            self._refuse_if_moved()
            # Once it is known to be in trouble, nobody waits long for it: what is written behind
            # tries again and again, and would hold up an operator for 5 s each time.
            patience = _PATIENT if self.health.condition.well else _IMPATIENT
            if patience != self._patience:
                connection.execute(patience)
                self._patience = patience
            with transaction(connection, writing=writing) as statements:
                result = work(statements)
                # Again, as late as can be: committed to a file that is gone, it would be lost
                # though the caller is told that it is safe.
                self._refuse_if_moved()
                return result

        try:
            result = await self.run(transact)
        except sqlite3.Error as error:
            log.debug("the database refused", reason=str(error))
            self.health.failed(reason(error))
            raise unavailable(error) from error
        if writing:
            self.health.written()
        return result

    def _refuse_if_moved(self) -> None:
        if self._held is not None and self._held.moved:
            raise FileMoved
