"""Is the audit log in a database file whole: asked beside a running llmlb, changing nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from llmlb.audit_check import ChainCheck
from llmlb.errors import StartupError
from llmlb.store.audit import read_chunk
from llmlb.store.audit_rows import ENTRIES
from llmlb.store.connection import connect
from llmlb.store.database import transaction
from llmlb.store.faults import reason
from llmlb.store.location import IN_MEMORY, locate
from llmlb.store.migrate import table_names


def check_file(url: str, check: ChainCheck) -> None:
    """Let *check* have the whole chain in the database at *url*, as of this moment.

    Raises StartupError with one sentence that says why it cannot be read.
    """
    path = locate(url)
    if path is IN_MEMORY:
        raise StartupError("A database in memory can only be asked through the running llmlb.")
    if not path.is_file():
        raise StartupError(
            f"There is no database {path}: set LLMLB_DATA_DIR or LLMLB_DATABASE_URL."
        )
    try:
        with closing(_opened(path)) as connection:
            if ENTRIES.get_table_name() not in table_names(connection):
                raise StartupError(
                    f"The database {path} has no audit log: it was not made by this llmlb, or was "
                    "last used by an older one."
                )
            # One transaction is one state, whatever is written meanwhile.
            with transaction(connection, writing=False) as statements:
                while check.take(read_chunk(statements, check.after)):
                    pass
    except sqlite3.Error as error:
        raise StartupError(f"The database {path} cannot be read ({reason(error)}).") from None


def _opened(path: Path) -> sqlite3.Connection:
    """A connection that only reads, also in a directory in which nothing may be written."""
    address = f"{path.as_uri()}?mode=ro"
    if not any(Path(f"{path}{suffix}").exists() for suffix in ("-wal", "-shm")):
        # Nobody has it open; SQLite would want to make these files to take part in their locks.
        address += "&immutable=1"
    return connect(address, uri=True)
