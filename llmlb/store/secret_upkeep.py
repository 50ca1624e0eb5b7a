"""What an operator can do about the keys while the server is stopped: rotate, or give up."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from pydantic import SecretStr

from llmlb.errors import StartupError
from llmlb.store.connection import open_file
from llmlb.store.database import transaction
from llmlb.store.endpoint_secrets import Unreadable, forget, seal_anew, unreadable
from llmlb.store.erasure import erase, secure, to_be_erased
from llmlb.store.faults import startup_error
from llmlb.store.key_file import KeyFile
from llmlb.store.location import IN_MEMORY, expand, locate
from llmlb.store.opening import box_for
from llmlb.store.secret_box import SecretBox, new_key
from llmlb.world import utc_now


class Upkeep:
    """Works on the secrets of a database that nobody else has open.

    Every method raises StartupError and sqlite3.Error.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        database: Path,
        key_file: KeyFile,
        secret_key: SecretStr | None,
    ) -> None:
        self._connection = connection
        self._database = str(database)
        self._key_file = key_file
        self._secret_key = secret_key
        self._box = self._read_box()

    def rotate(self) -> str:
        """Encrypt all with the newest key, which is made where a file holds the keys.

        Gives sentences for people. Whenever it is broken off, the keys that are there open all
        secrets, and another rotation ends it.
        """
        secure(self._connection, self._box, file=self._database, now=utc_now())
        if self._secret_key is not None:
            count = self._seal_anew(self._box)
            return (
                f"Secrets of {_endpoints(count)} are encrypted with the first key of "
                "LLMLB_SECRET_KEY. Keys behind it can be removed now."
            )
        newest, older = new_key(), self._key_file.lines()
        self._key_file.replace([newest, *older])
        count = self._seal_anew(self._read_box())
        self._key_file.replace([newest])  # not before nothing needs the older ones
        return (
            f"Secrets of {_endpoints(count)} are encrypted with a new key, the only one in "
            f"{self._key_file.path}. Back it up; older backups of the database need the older key."
        )

    def unreadable(self) -> list[Unreadable]:
        """The endpoints with secrets that no key opens."""
        with transaction(self._connection, writing=False) as statements:
            return unreadable(statements, self._box)

    def forget(self, lost: Sequence[Unreadable]) -> None:
        """Let these endpoints be without the secrets that cannot be read."""
        with transaction(self._connection) as statements:
            forget(statements, lost)

    def _read_box(self) -> SecretBox:
        return box_for(Path(self._database), self._key_file.path.parent, self._secret_key)

    def _seal_anew(self, after: SecretBox) -> int:
        with transaction(self._connection) as statements:
            count = seal_anew(statements, self._box, after)
            to_be_erased(statements)
        # What an older key encrypted is as good as plaintext to whoever has got hold of that key.
        erase(self._connection, file=self._database, now=utc_now())
        return count


@contextmanager
def secrets_of(url: str, *, data_dir: Path, secret_key: SecretStr | None) -> Iterator[Upkeep]:
    """The secrets of the database at *url*, held against other processes until the end.

    Raises StartupError, also for what goes wrong within.
    """
    location, directory = locate(url), expand(data_dir)
    if location is IN_MEMORY:
        raise StartupError("A database in memory keeps no secrets: there is nothing to do.")
    if not location.exists():
        raise StartupError(
            f"There is no database {location}: set LLMLB_DATA_DIR or LLMLB_DATABASE_URL as for "
            "the server."
        )
    connection, held = open_file(location, utc_now())
    try:
        with closing(connection):
            yield Upkeep(connection, location, KeyFile(directory), secret_key)
    except sqlite3.Error as error:
        raise startup_error(error, location) from None
    finally:
        held.release()


def _endpoints(count: int) -> str:
    return "1 endpoint" if count == 1 else f"{count} endpoints"
