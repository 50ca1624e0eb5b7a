"""The way in: opens the database, brings in what an older installation left, and closes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import trio
from pypika import Query

from llmlb.store import connection, files
from llmlb.store.database import Database, Held, ThreadRunner
from llmlb.store.endpoints import EndpointRepository
from llmlb.store.faults import startup_error
from llmlb.store.importing import import_older
from llmlb.store.location import IN_MEMORY, expand, locate
from llmlb.store.responses import ResponseRepository
from llmlb.store.sql import sql
from llmlb.store.statistics import StatisticsRepository

_PING = sql(Query.select(1))


class Store:
    """Owns the database; its repositories are the only ones who speak to it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.endpoints = EndpointRepository(database)
        self.statistics = StatisticsRepository(database)
        self.responses = ResponseRepository(database)

    async def ping(self) -> None:
        """Ask the database something trivial. Raises StoreUnavailable."""
        await self._database.read(lambda statements: statements.rows(_PING, 1))

    async def close(self) -> None:
        """Finish what runs, close the database and let others have it."""
        await self._database.close()


async def open_store(
    url: str,
    *,
    data_dir: Path,
    run_in_thread: ThreadRunner = trio.to_thread.run_sync,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Store:
    """Open the database at *url* and import older files from *data_dir*, each once.

    Raises StartupError with one sentence that names the file and the remedy. Takes as long as
    the files are large.
    """
    location = locate(url)
    directory = expand(data_dir)

    def open_database() -> tuple[sqlite3.Connection, Held | None]:
        files.make_directory(directory)
        if location is IN_MEMORY:
            return connection.open_memory(now()), None
        return connection.open_file(location, now())

    def bring_in(opened: sqlite3.Connection) -> None:
        try:
            import_older(opened, directory, now)
        except sqlite3.Error as error:
            raise startup_error(error, location or Path(":memory:")) from None

    database = Database(*await run_in_thread(open_database), run_in_thread)
    async with AsyncExitStack() as undo:
        undo.push_async_callback(database.close)
        await database.run(bring_in)
        undo.pop_all()
    return Store(database)
