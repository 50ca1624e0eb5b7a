"""How an event looks on the wire, and how its place is told and read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict

from llmlb.actors.feed import Batch
from llmlb.events import Told
from llmlb.http.manage.endpoint_json import JsonObject, instant

RETRY_MS = 3000
"""After so long a client comes back that has lost its stream."""

NOT_KNOWN = -1
"""The place of no event: whoever goes on after it may have missed some."""


class EventIds:
    """The `id` of each event of one run: numbers begin anew with every start."""

    def __init__(self, instance_id: str) -> None:
        self._run = instance_id

    def of(self, seq: int) -> str:
        return f"{self._run}-{seq}"

    def seq_of(self, said: str | None) -> int | None:
        """After which event to go on, by a client's `Last-Event-ID`; None: it has none."""
        if not said:
            return None
        run, _, seq = said.rpartition("-")
        if run != self._run or not re.fullmatch("[0-9]{1,15}", seq):
            return NOT_KNOWN
        return int(seq)

    def greeting(self, seq: int, *, reset: bool) -> bytes:
        """What a stream begins with that goes on after *seq*."""
        kind = "reset" if reset else "connected"
        message = (
            "events may be missing: look at everything anew"
            if reset
            else "what happens from here on follows"
        )
        told = _lines({"type": kind, "message": message}, self.of(seq))
        return f"retry: {RETRY_MS}\n".encode() + told

    def told(self, batch: Batch) -> bytes:
        """All of *batch*, beginning with how much of it is missing."""
        pieces = [_lines(told_json(told), self.of(told.seq)) for told in batch.events]
        if batch.dropped:
            pieces.insert(0, _lines({"type": "dropped", "count": batch.dropped}))
        return b"".join(pieces)


def told_json(told: Told) -> JsonObject:
    """One event, in the older product's envelope."""
    data: JsonObject = asdict(told.event)
    if "endpoint_id" in data:
        data["runtime_id"] = data["endpoint_id"]  # as the older product has it
    return {
        "type": type(told.event).__name__,
        "seq": told.seq,
        "at": instant(told.at),
        "data": data,
    }


def _lines(shown: JsonObject, event_id: str | None = None) -> bytes:
    # json.dumps escapes line breaks and all that is not ASCII: one line, whatever names hold.
    lines: Iterable[str] = (
        *([] if event_id is None else [f"id: {event_id}"]),
        f"data: {json.dumps(shown)}",
    )
    return "".join(f"{line}\n" for line in (*lines, "")).encode()
