"""How long an answer may take, and whether it is the endpoint that takes it or the client."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import trio

from llmlb.http.cutoff import CutOff

RENEWED_EVERY_S = 1.0
"""So often at most the end of a token's time is moved, which costs as much as passing one on. A
stream that stalls after tokens in quick succession is ended so much later at most."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an endpoint may take, in seconds."""

    whole_s: float
    """A plain answer, from sending to its last byte."""
    first_token_s: float
    token_gap_s: float
    stream_s: float
    """A stream, from sending to its end; also a client that takes its time over any answer."""
    own_s: float = math.inf
    """Any answer: what is left of the time that the client gave its request."""

    def until_anything_s(self, *, stream: bool) -> float:
        """How long the endpoint may take to say anything."""
        if not stream:
            return min(self.whole_s, self.own_s)
        return min(self.first_token_s, self.stream_s, self.own_s)


class Budget:
    """The time of one call to an endpoint. What its end means, its owner has to find out."""

    def __init__(self, patience: Patience, clock: Callable[[], float]) -> None:
        self._patience, self._clock = patience, clock
        self.client_s = 0.0
        """How long the client took to take what it was sent."""
        self.clients_turn = False
        """Whether it is the client that is waited for; stays as it was when the time was over."""
        self._renewed_s = -math.inf
        self._end_s = self.own_end_s = math.inf

    @contextmanager
    def scope(self, cut_off: CutOff, *, stream: bool) -> Iterator[trio.CancelScope]:
        """The scope in which the call is made; cancelled when the time is over."""
        started_s = self._clock()
        self.own_end_s = started_s + self._patience.own_s
        """When the time is over that the client gave its request."""
        self._end_s = min(started_s + self._patience.stream_s, self.own_end_s)
        until_s = started_s + self._patience.until_anything_s(stream=stream)
        with cut_off.scope(deadline=until_s) as self._scope:
            yield self._scope

    def heard(self) -> None:
        """The endpoint has gone on: from now on it has the time between two tokens again."""
        now_s = self._clock()
        due_s = now_s + self._patience.token_gap_s
        if now_s - self._renewed_s < RENEWED_EVERY_S:
            if min(due_s, self._end_s) <= self._scope.deadline:
                return  # it was moved ahead, for this one too
            due_s += RENEWED_EVERY_S
        self._renewed_s = now_s
        self._scope.deadline = min(self._end_s, due_s)

    def ended(self) -> None:
        """All is said: nothing is waited for any more, but what has a bound of its own."""
        self._scope.deadline = math.inf

    async def on_the_clients_time(self, taking: Coroutine[Any, Any, None]) -> None:
        """Await *taking*, in which the client takes something.

        A slow client is not a slow endpoint: while it is waited for, only the end of all counts.
        Most take what they are sent at once, and then no clock is looked at.
        """
        try:
            trap = taking.send(None)
        except StopIteration:
            return
        started_s = self._clock()
        left_s = self._scope.deadline - started_s
        self._scope.deadline, self.clients_turn = self._end_s, True
        await _Begun(taking, trap)
        now_s = self._clock()
        self.client_s += now_s - started_s
        self._scope.deadline, self.clients_turn = min(self._end_s, now_s + left_s), False


class _Begun(Generator[Any, Any, None]):
    """A coroutine that has been begun by hand, and has asked for *trap* since: to be awaited."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], trap: object) -> None:
        self._coroutine, self._trap = coroutine, trap
        self._asked = False

    def __await__(self) -> Generator[Any, Any, None]:
        return self

    def send(self, answer: Any, /) -> Any:  # noqa: ANN401 - between the coroutine and Trio
        if self._asked:
            return self._coroutine.send(answer)
        self._asked = True
        return self._trap

    def throw(self, typ: Any, val: Any = None, tb: object = None, /) -> Any:  # noqa: ANN401, ARG002
        return self._coroutine.throw(typ if val is None else val)
