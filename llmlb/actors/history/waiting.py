"""Which records wait to be written to the history, bounded in number and in size."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from llmlb.records import RequestRecord

MOST_WAITING = 10_000
MOST_WAITING_BYTES = 64 * 1024 * 1024

_RECORD_BYTES, _CANDIDATE_BYTES = 2000, 200
"""What a record takes in memory without bodies, and what each endpoint in its decisions: about."""


class Waiting:
    """Owns the records that wait, in the order in which they were told.

    Where there are too many, the oldest go, and are counted.
    """

    def __init__(self) -> None:
        self._records = deque[tuple[RequestRecord, int]]()
        self.n_bytes = 0
        self.dropped = 0
        """Since the start."""

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: RequestRecord) -> None:
        n_bytes = size_of(record)
        self._records.append((record, n_bytes))
        self.n_bytes += n_bytes
        self._bound()

    def put_back(self, records: Sequence[RequestRecord]) -> None:
        """Take in what was taken out and could not be written; it is older than the rest."""
        for record in reversed(records):
            n_bytes = size_of(record)
            self._records.appendleft((record, n_bytes))
            self.n_bytes += n_bytes
        self._bound()

    def take(self, most: int) -> list[RequestRecord]:
        """The oldest, *most* of them at most."""
        taken: list[RequestRecord] = []
        while self._records and len(taken) < most:
            record, n_bytes = self._records.popleft()
            self.n_bytes -= n_bytes
            taken.append(record)
        return taken

    def _bound(self) -> None:
        while len(self._records) > MOST_WAITING or self.n_bytes > MOST_WAITING_BYTES:
            _, n_bytes = self._records.popleft()
            self.n_bytes -= n_bytes
            self.dropped += 1


def size_of(record: RequestRecord) -> int:
    """About how many bytes *record* takes in memory."""
    n_bytes = _RECORD_BYTES
    for decision in record.decisions:
        n_bytes += _CANDIDATE_BYTES * (1 + len(decision.view.candidates))
        if decision.on_arrival is not None:
            n_bytes += _CANDIDATE_BYTES * len(decision.on_arrival.candidates)
    if record.bodies is not None:
        # four bytes a character, which is what Python takes for some texts
        texts = (record.bodies.request, record.bodies.response)
        n_bytes += 4 * sum(len(text or "") for text in texts)
    return n_bytes
