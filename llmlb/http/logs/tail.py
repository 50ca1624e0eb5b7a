"""What the log has said lately, and who reads on as it grows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from threading import RLock

import trio

from llmlb.errors import Overloaded, ShuttingDown
from llmlb.http.logs.redactor import Json

KEPT_ENTRIES, KEPT_BYTES = 5000, 8 * 1024 * 1024

MOST_FOLLOWERS = 16
FULL_RETRY_AFTER_S = 30


@dataclass(frozen=True, slots=True)
class Kept:
    """One entry; *seq* counts from 1, *level* is that of the standard library's `logging`."""

    seq: int
    level: int
    told: Mapping[str, Json]
    size_bytes: int


class LogTail:
    """Owns the newest 5,000 entries, or 8 MiB of them, and wakes whoever waits for more.

    No actor: threads log, too, and so does the start, before there is a house. Adding takes a
    lock for a moment; those who wait are woken in their own thread. A follower has no buffer of
    its own: one that is slow finds the oldest entries gone, and is told how many.
    """

    def __init__(self, *, most_entries: int = KEPT_ENTRIES, most_bytes: int = KEPT_BYTES) -> None:
        self._most_entries, self._most_bytes = most_entries, most_bytes
        self._lock = RLock()  # a destructor may log while its thread is adding
        self._kept = deque[Kept]()
        self._bytes = 0
        self.last_seq = 0
        """Of the newest entry."""
        self._followers = 0
        self._token: trio.lowlevel.TrioToken | None = None
        self._news = trio.Event()
        self.ended = False
        """Nobody is told anything more."""

    def add(self, told: Mapping[str, Json], level: int, size_bytes: int) -> None:
        """Keep one more entry; the oldest go. From any thread; never blocks for long."""
        with self._lock:
            self.last_seq += 1
            self._kept.append(Kept(self.last_seq, level, told, size_bytes))
            self._bytes += size_bytes
            while len(self._kept) > self._most_entries or self._bytes > self._most_bytes:
                self._bytes -= self._kept.popleft().size_bytes
            token = self._token
        if token is not None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(self._wake, idempotent=True)

    def all(self) -> tuple[Kept, ...]:
        """What is kept, the oldest first."""
        with self._lock:
            return tuple(self._kept)

    def after(self, seq: int, most: int) -> tuple[tuple[Kept, ...], int]:
        """The *most* oldest entries after that of number *seq*, and how many before them are gone.

        *seq* is that of an entry that there has been.
        """
        with self._lock:
            first = self._kept[0].seq if self._kept else self.last_seq + 1
            begin = max(0, seq + 1 - first)
            found = tuple(islice(self._kept, begin, begin + most))
        return found, max(0, first - seq - 1)

    @contextmanager
    def following(self) -> Iterator[None]:
        """Within it, `wait_beyond` may be called. Raises Overloaded, ShuttingDown."""
        if self.ended:
            raise ShuttingDown("The balancer is shutting down.")
        if self._followers >= MOST_FOLLOWERS:
            raise Overloaded(
                f"{MOST_FOLLOWERS} clients follow the log already.",
                retry_after_s=FULL_RETRY_AFTER_S,
            )
        self._followers += 1
        self._token = trio.lowlevel.current_trio_token()
        try:
            yield
        finally:
            self._followers -= 1
            if not self._followers:
                self._token = None

    async def wait_beyond(self, seq: int) -> None:
        """Return once there is an entry after that of number *seq*, or `ended`."""
        while self.last_seq <= seq and not self.ended:
            await self._news.wait()

    def end(self) -> None:
        """Let those who follow read to the end and leave. In Trio's thread."""
        self.ended = True
        self._wake()

    def begin_anew(self) -> None:
        """Let them follow again."""
        self.ended = False

    def _wake(self) -> None:
        waiting, self._news = self._news, trio.Event()
        waiting.set()
