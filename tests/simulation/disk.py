"""The disk under the database: what runs on it, and how it fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

import trio

from llmlb.store.connection import BUSY_TIMEOUT_S
from tests.fakes.house import run_inline
from tests.simulation.parts import DiskTrouble

T = TypeVar("T")

_CODES = {DiskTrouble.LOCKED: sqlite3.SQLITE_BUSY, DiskTrouble.FULL: sqlite3.SQLITE_FULL}


class SimDisk:
    """Runs the database's work in place of a thread, and refuses it while it is in trouble."""

    def __init__(self) -> None:
        self.trouble: DiskTrouble | None = None
        self.spared = False
        """Whatever the trouble, it works for now."""

    async def run(self, sync_fn: Callable[[], T], /) -> T:
        """Like `trio.to_thread.run_sync`, which does not give up on work that has begun."""
        if self.trouble is not None and not self.spared:
            raise await self._refusal(self.trouble)
        return await run_inline(sync_fn)

    async def _refusal(self, trouble: DiskTrouble) -> sqlite3.OperationalError:
        if trouble is DiskTrouble.LOCKED:
            with trio.CancelScope(shield=True):
                await trio.sleep(BUSY_TIMEOUT_S)
        error = sqlite3.OperationalError(f"the disk is {trouble}")
        error.sqlite_errorcode = _CODES[trouble]
        return error
