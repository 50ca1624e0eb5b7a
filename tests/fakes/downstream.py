"""A client's side of an exchange that notes what it got and when, and can be difficult."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import trio

from llmlb.http.downstream import Downstream, Head, PeerGone


@dataclass
class FakeDownstream:
    """Takes everything at once, unless told otherwise.

    Its turns are counted from 0: the head is turn 0, the first piece of the body turn 1.
    """

    turn_s: float = 0.0
    """Every turn takes this long: a slow client."""
    stuck_at: int | None = None
    """This turn never ends: a client that does not read."""
    leaves_at: int | None = None
    """This turn raises PeerGone."""
    fails_with: BaseException | None = None
    """Raised by the first turn: a fault of the face's own."""
    keep: bool = True
    """Whether pieces are kept; else only their lengths are counted."""
    heads: list[Head] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """When each piece was handed over."""
    n_bytes: int = 0
    turns: int = 0
    """How many turns were over: whatever came in them has arrived."""
    aborted: bool = False
    peer_gone: bool = False

    async def begin(self, head: Head) -> None:
        assert not self.heads, "an answer has one head"
        assert all(name == name.lower() for name, _ in head.headers), head
        self.heads.append(head)
        await self._turn(0)

    async def send(self, data: bytes) -> None:
        assert self.heads, "the head comes first"
        assert not self.aborted, "nothing comes after abort"
        assert data, "an empty piece would be the end of the body in some framings"
        self.times.append(trio.current_time())
        self.n_bytes += len(data)
        self.pieces.append(data if self.keep else b"")
        await self._turn(len(self.pieces))

    def abort(self) -> None:
        self.aborted = True

    async def _turn(self, turn: int) -> None:
        if self.fails_with is not None:
            raise self.fails_with
        if self.leaves_at is not None and turn >= self.leaves_at:
            self.peer_gone = True
            raise PeerGone
        if self.stuck_at is not None and turn >= self.stuck_at:
            await trio.sleep_forever()
        await trio.sleep(self.turn_s)
        self.turns += 1

    # -- what it got

    @property
    def whole(self) -> bool:
        """A whole answer has arrived, and it is none of an error."""
        if self.aborted or self.turns <= len(self.pieces) or self.status != 200:
            return False
        if "content-length" in self.headers:
            return int(self.headers["content-length"]) == self.n_bytes
        return self.body.endswith(b"data: [DONE]\n\n")

    @property
    def begun(self) -> bool:
        return bool(self.heads)

    @property
    def status(self) -> int:
        return self.heads[0].status

    @property
    def headers(self) -> Mapping[str, str]:
        headers = dict(self.heads[0].headers)
        assert len(headers) == len(self.heads[0].headers), "a header is said twice"
        return headers

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def json(self) -> Any:
        assert int(self.headers["content-length"]) == len(self.body)
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The OpenAI error that this answer is."""
        assert self.status >= 400, (self.status, self.body)
        return self._checked(self.json)

    @property
    def events(self) -> list[bytes]:
        """The events of a stream, each without its blank line."""
        events = self.body.split(b"\n\n")
        assert events.pop() == b"", "the last event is whole"
        return events

    @property
    def last_error(self) -> dict[str, Any]:
        """The error that ended a stream, as its last event, which is no `[DONE]`."""
        *before, last = self.events
        assert b"data: [DONE]" not in before
        assert not any(b'data: {"error"' in event for event in before), "one error is enough"
        return self._checked(json.loads(last.removeprefix(b"data: ")))

    @staticmethod
    def _checked(whole: Any) -> dict[str, Any]:
        assert whole.keys() == {"error"}, whole
        error: dict[str, Any] = whole["error"]
        assert error.keys() == {"message", "type", "param", "code"}, error
        assert isinstance(error["message"], str)
        assert error["message"]
        return error


def _conforms(fake: FakeDownstream) -> Downstream:
    """For the type checker: the fake is a downstream."""
    return fake
