"""How events go to those who follow them: frames of a stream, messages of a WebSocket."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import get_args

from llmlb.actors.feed import Batch
from llmlb.errors import InvalidRequest
from llmlb.event_json import Told
from llmlb.events import EndpointRegistered, EndpointRemoved, Event, State

RETRY_MS = 3000
"""After so long a client comes back that has lost its stream."""

IN_A_PIECE = 100
"""So many events are put together at once."""

NOT_KNOWN = -1
"""The place of no event: whoever goes on after it may have missed some."""

CONNECTED = "what happens from here on follows"
RESET = "events may be missing: look at everything anew"
UNWELCOME = "the session has ended: log in again"

OLDER_NAMES: Mapping[type[Event], str] = MappingProxyType(
    {EndpointRegistered: "NodeRegistered", EndpointRemoved: "NodeRemoved"}
)
"""What the older product's WebSocket calls the same; all other names are alike."""

_KINDS: Mapping[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}
_OLDER_KINDS = {**_KINDS, **{name: kind for kind, name in OLDER_NAMES.items()}}


def kinds_asked(query: Mapping[str, str], *, older: bool = False) -> frozenset[type[Event]] | None:
    """What `types=A,B` asks for; None: all. Raises InvalidRequest for a name that is none.

    With *older*, the older product's names mean the same.
    """
    said = query.get("types")
    if said is None:
        return None
    known = _OLDER_KINDS if older else _KINDS
    names = said.split(",")
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise InvalidRequest(
            f"'{unknown[:100]}' is no type of event; there are {', '.join(known)}.", param="types"
        )
    return frozenset(known[name] for name in names)


class EventIds:
    """The `id` of each event of one run: numbers begin anew with every start."""

    def __init__(self, instance_id: str) -> None:
        self._run = instance_id
        self._latest: tuple[Batch, dict[int, bytes]] = (Batch(()), {})

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
        kind, message = ("reset", RESET) if reset else ("connected", CONNECTED)
        told = _frame(json.dumps({"type": kind, "message": message}), self.of(seq))
        return f"retry: {RETRY_MS}\n{told}".encode()

    def told(self, batch: Batch) -> Iterator[bytes]:
        """All of *batch* in pieces, beginning with how much of it is missing.

        Those who are equally far are given the same batch, one after the other: each piece is put
        together once for all of them. Whoever is slow has no more than one piece of its own, and
        not a copy of all that is kept.
        """
        self._latest = self._latest if self._latest[0] is batch else (batch, {})
        for begin in range(0, max(1, len(batch.events)), IN_A_PIECE):
            latest, pieces = self._latest
            shared = pieces if latest is batch else {}
            if begin not in shared:
                shared[begin] = self._piece(batch, begin)
            yield shared[begin]

    def _piece(self, batch: Batch, begin: int) -> bytes:
        frames = [self._event(told) for told in batch.events[begin : begin + IN_A_PIECE]]
        if batch.dropped and begin == 0:
            frames.insert(0, _frame(json.dumps({"type": "dropped", "count": batch.dropped})))
        return "".join(frames).encode()

    def _event(self, told: Told) -> str:
        # how things are is no place to go on from
        return _frame(told.json, None if isinstance(told.event, State) else self.of(told.seq))


def farewell() -> bytes:
    """What a stream ends with whose client is not welcome any more."""
    return _frame(json.dumps({"type": "unauthorized", "message": UNWELCOME})).encode()


def _frame(data: str, event_id: str | None = None) -> str:
    place = "" if event_id is None else f"id: {event_id}\n"
    return f"{place}data: {data}\n\n"


HELLO = json.dumps({"type": "connected", "message": CONNECTED})
"""The first message of a WebSocket."""


def messages(batch: Batch) -> Iterable[str]:
    """The messages of a WebSocket that tell *batch*, in the older product's words."""
    if batch.dropped:
        yield json.dumps({"type": "dropped", "data": {"count": batch.dropped}})
    for told in batch.events:
        older = OLDER_NAMES.get(type(told.event))
        ours = f'{{"type": "{type(told.event).__name__}"'
        yield told.json if older is None else f'{{"type": "{older}"{told.json[len(ours) :]}'
