"""A body that is needed in one piece: in memory if there is room, else on disk until there is."""

from __future__ import annotations

import io
from typing import cast

import trio

from llmlb.http.bodies import BodyBudget, overloaded
from llmlb.http.intake.limit import Allowance
from llmlb.http.intake.spool import IN_MEMORY_BYTES, Spool, SpooledFile


class WholeIntake:
    """Owns one body from its first byte on, and gives back what it holds of the budget."""

    def __init__(self, allowance: Allowance, budget: BodyBudget, spool: Spool) -> None:
        self._allowance, self._budget, self._spool = allowance, budget, spool
        self._data = io.BytesIO()
        """Unlike a bytearray, it gives away its bytes without a copy of them."""
        self._held_bytes = 0
        self._file: SpooledFile | None = None

    async def take(self, data: bytes) -> None:
        """Raises RequestTooLarge, Overloaded, InternalError."""
        self._allowance.use(len(data))
        if self._allowance.used_bytes > self._budget.limit_bytes:
            raise overloaded()  # there never will be room for it
        if self._file is None and self._budget.take(len(data)):
            self._held_bytes += len(data)
            self._data.write(data)
            return
        if self._file is None:
            self._file = SpooledFile(self._spool)
            kept = self._taken()
            for at in range(0, len(kept), IN_MEMORY_BYTES):
                await self._file.write(kept[at : at + IN_MEMORY_BYTES])
            self._give_back()
        await self._file.write(data)

    async def finish(self) -> bytes | WaitingBody:
        """The body, or what stands for it until it has been read back into memory."""
        if self._file is not None:
            return WaitingBody(self)
        return self._taken()

    def close(self) -> None:
        """Give everything back. Works while being cancelled, and a second time."""
        self._data = io.BytesIO()
        self._give_back()
        if self._file is not None:
            self._file.close()

    async def read_back(self, within_s: float) -> bytes:
        """The body in memory, as soon as there is room. Raises Overloaded, InternalError."""
        file = cast("SpooledFile", self._file)
        try:
            with trio.fail_after(within_s):
                await self._budget.wait(file.size_bytes)
                self._held_bytes = file.size_bytes
                while (at := self._data.tell()) < file.size_bytes:
                    self._data.write(await file.read(at, file.size_bytes))
        except trio.TooSlowError:
            raise overloaded() from None
        file.close()
        return self._taken()

    def _taken(self) -> bytes:
        """All that came, given away."""
        whole, self._data = self._data.getvalue(), io.BytesIO()
        return whole

    def _give_back(self) -> None:
        held_bytes, self._held_bytes = self._held_bytes, 0
        self._budget.give_back(held_bytes)


class WaitingBody:
    """A body on disk that has to be read back before anybody can look into it."""

    def __init__(self, intake: WholeIntake) -> None:
        self._intake = intake

    async def read_back(self, within_s: float) -> bytes:
        """See WholeIntake.read_back."""
        return await self._intake.read_back(within_s)
