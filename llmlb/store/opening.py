"""The way in: opens the database, brings in what an older installation left, and closes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

import trio
from pydantic import SecretStr
from pypika import Query

from llmlb.errors import StoreUnavailable
from llmlb.store import connection, files
from llmlb.store.accounts import AccountRepository
from llmlb.store.audit import AuditRepository
from llmlb.store.clients import ClientRepository
from llmlb.store.dashboard_settings import DashboardSettings
from llmlb.store.database import Database, Held, ThreadRunner
from llmlb.store.endpoints import EndpointRepository
from llmlb.store.erasure import secure
from llmlb.store.faults import startup_error
from llmlb.store.health import Health
from llmlb.store.history import HistoryRepository
from llmlb.store.importing import import_older
from llmlb.store.key_file import KeyFile
from llmlb.store.location import IN_MEMORY, expand, locate
from llmlb.store.migrate import REWRITE
from llmlb.store.responses import ResponseRepository
from llmlb.store.secret_box import SecretBox, box_from_setting, box_in_memory
from llmlb.store.sql import sql
from llmlb.store.statistics import StatisticsRepository

_PING = sql(Query.select(1))

LOOK_EVERY_S = 5.0
SILENT_AFTER_S = 15.0
"""A lock is given up on after 5 s; what takes so much longer is a disk that does not answer."""


class Store:
    """Owns the database; its repositories are the only ones who speak to it."""

    def __init__(self, database: Database, box: SecretBox) -> None:
        self._database = database
        self.endpoints = EndpointRepository(database, box)
        self.accounts = AccountRepository(database)
        self.statistics = StatisticsRepository(database)
        self.responses = ResponseRepository(database)
        self.audit = AuditRepository(database)
        self.history = HistoryRepository(database)
        self.clients = ClientRepository(database)
        self.dashboard_settings = DashboardSettings(database)

    @property
    def health(self) -> Health:
        """How the database does."""
        return self._database.health

    async def ping(self) -> None:
        """Ask the database something trivial. Raises StoreUnavailable."""
        await self._database.read(lambda statements: statements.rows(_PING, 1))

    async def watch(self) -> None:
        """Look after the database until cancelled: is its file there, does it recover.

        While it is well, what is written tells; only a file that vanishes would go unnoticed.
        While it is not, a write that changes nothing is tried.
        """
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(LOOK_EVERY_S)
                busy_for_s = self._database.busy_for_s
                if busy_for_s is None:
                    nursery.start_soon(self._look)
                elif busy_for_s >= SILENT_AFTER_S:  # else: whoever has it will learn how it does
                    self.health.failed("it does not answer")

    async def _look(self) -> None:
        with suppress(StoreUnavailable):  # its health has been told
            if self.health.condition.well:
                await self.ping()
            else:
                await self._database.write(lambda statements: statements.run(REWRITE))

    async def close(self) -> None:
        """Finish what runs, close the database and let others have it."""
        await self._database.close()


async def open_store(
    url: str,
    *,
    data_dir: Path,
    secret_key: SecretStr | None = None,
    run_in_thread: ThreadRunner = trio.to_thread.run_sync,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Store:
    """Open the database at *url* and import older files from *data_dir*, each once.

    Its secrets are encrypted by *secret_key*, or else by the key file in *data_dir*.

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

    def bring_in(opened: sqlite3.Connection) -> SecretBox:
        file = location or Path(":memory:")
        box = box_for(location, directory, secret_key)
        try:
            secure(opened, box, file=str(file), now=now())
            import_older(opened, directory, box, now)
        except sqlite3.Error as error:
            raise startup_error(error, file) from None
        return box

    database = Database(*await run_in_thread(open_database), run_in_thread)
    async with AsyncExitStack() as undo:
        undo.push_async_callback(database.close)
        box = await database.run(bring_in)
        undo.pop_all()
    return Store(database, box)


def box_for(location: Path | None, directory: Path, secret_key: SecretStr | None) -> SecretBox:
    """What opens and seals the secrets of a database. Raises StartupError."""
    if secret_key is not None:
        return box_from_setting(secret_key.get_secret_value())
    return box_in_memory() if location is IN_MEMORY else KeyFile(directory).box()
