"""How events go to those who follow them: frames of a stream, messages of a WebSocket."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar, get_args

from wsproto.frame_protocol import FrameProtocol

from llmlb.actors.feed import Batch
from llmlb.errors import InvalidRequest
from llmlb.event_json import Told
from llmlb.events import EndpointRegistered, EndpointRemoved, Event, State

P = TypeVar("P")

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


class Shared(Generic[P]):
    """What batches look like on a wire, in pieces.

    Those who are equally far are given the same batch, one after the other: each piece is put
    together once for all of them. Whoever is slow has no more than one piece of its own, and
    not a copy of all that is kept.
    """

    def __init__(self, make: Callable[[Sequence[Told], int], P]) -> None:
        """*make* puts together some events, and how many are missing before them."""
        self._make = make
        self._latest: tuple[Batch, dict[int, P]] = (Batch(()), {})

    def told(self, batch: Batch) -> Iterator[P]:
        """All of *batch*, beginning with how much of it is missing."""
        self._latest = self._latest if self._latest[0] is batch else (batch, {})
        for begin in range(0, max(1, len(batch.events)), IN_A_PIECE):
            latest, pieces = self._latest
            shared = pieces if latest is batch else {}
            if begin not in shared:
                dropped = 0 if begin else batch.dropped
                shared[begin] = self._make(batch.events[begin : begin + IN_A_PIECE], dropped)
            yield shared[begin]


class EventIds(Shared[bytes]):
    """The `id` of each event of one run: numbers begin anew with every start."""

    def __init__(self, instance_id: str) -> None:
        super().__init__(self._frames)
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
        kind, message = ("reset", RESET) if reset else ("connected", CONNECTED)
        told = _frame(json.dumps({"type": kind, "message": message}), self.of(seq))
        return f"retry: {RETRY_MS}\n{told}".encode()

    def _frames(self, events: Sequence[Told], dropped: int) -> bytes:
        frames = [self._event(told) for told in events]
        if dropped:
            frames.insert(0, _frame(json.dumps({"type": "dropped", "count": dropped})))
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


@dataclass(frozen=True, slots=True)
class Messages:
    """Some messages of a WebSocket, and the same as the frames in which they are sent."""

    texts: tuple[str, ...]
    frames: bytes


def messages(events: Iterable[Told], dropped: int) -> Messages:
    """What a WebSocket is told, in the older product's words."""
    texts = [_older(told) for told in events]
    if dropped:
        texts.insert(0, json.dumps({"type": "dropped", "data": {"count": dropped}}))
    frames = FrameProtocol(client=False, extensions=[])
    return Messages(tuple(texts), b"".join(frames.send_data(text) for text in texts))


def _older(told: Told) -> str:
    older = OLDER_NAMES.get(type(told.event))
    ours = f'{{"type": "{type(told.event).__name__}"'
    return told.json if older is None else f'{{"type": "{older}"{told.json[len(ours) :]}'
