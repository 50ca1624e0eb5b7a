"""Which content blocks of a streamed message are open, and what each new piece does to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from llmlb.http.anthropic.arguments import Arguments
from llmlb.http.upstream.faults import FaultKind, UpstreamFault

CALL_LIMIT = 256
"""Tool calls in one message; who makes more is not in its right mind."""

NAMELESS_LIMIT_CHARS = 64 * 1024
"""Arguments that are held while the name of their tool has not come."""

Json = dict[str, Any]


def event(kind: str, **fields: object) -> bytes:
    """One event of a message's stream."""
    data = json.dumps({"type": kind, **fields}, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n".encode()


@dataclass(slots=True)
class _Call:
    """One tool call: the endpoint's own id and name of it as far as they came."""

    said_id: str = ""
    name: str = ""
    index: int | None = None
    """Of its block, once that has begun."""
    arguments: Arguments = field(default_factory=Arguments)
    held: str = ""
    """Arguments that came before the name."""
    ended: bool = False
    """Its block has been closed: what comes after a complete object is no part of it."""

    def stop(self) -> bytes:
        """The end of its block."""
        self.ended = True
        return event("content_block_stop", index=self.index)


@dataclass(slots=True)
class Blocks:
    """Numbers the blocks and keeps them one after the other, as Anthropic does.

    One exception: a call whose arguments are not complete stays open when the next call
    begins, since chat may mix the pieces of several. No text is kept.
    """

    fresh: Callable[[], str]
    calls: list[_Call] = field(default_factory=list)
    """All tool calls so far."""
    _next: int = 0
    _prose: tuple[str, int] | None = None
    """The open block of text or thinking: its type and index."""
    _by_position: dict[int, _Call] = field(default_factory=dict)
    _open: list[_Call] = field(default_factory=list)

    def text(self, text: str) -> bytes:
        """More text."""
        return self._say("text", {"text": ""}, {"type": "text_delta", "text": text})

    def thinking(self, thought: str) -> bytes:
        """More of what the model thinks."""
        # Only Anthropic can sign; our own way back leaves thinking blocks out.
        return self._say(
            "thinking",
            {"thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": thought},
        )

    def call(self, delta: Json) -> bytes:
        """A piece of a tool call, as in `delta.tool_calls`. Raises UpstreamFault."""
        function = delta.get("function")
        named: Json = function if isinstance(function, dict) else {}
        call = self._find(delta.get("index"), _text(delta.get("id")), _text(named.get("name")))
        piece = named.get("arguments")
        if isinstance(piece, dict):
            piece = json.dumps(piece)
        call.held += _text(piece)
        if call.name:
            return self._continue(call)
        if len(call.held) > NAMELESS_LIMIT_CHARS:
            raise UpstreamFault(FaultKind.BAD_ANSWER, "The endpoint called a tool without a name.")
        return b""

    def close(self) -> bytes:
        """The end of all that is open; calls that never got a name are told without one."""
        nameless = [call for call in self.calls if call.index is None]
        events = [self._continue(call) for call in nameless]
        events.append(self._close_prose())
        events += [call.stop() for call in self._open]
        self._open.clear()
        return b"".join(events)

    def _say(self, kind: str, empty: Json, delta: Json) -> bytes:
        events = []
        if self._prose is None or self._prose[0] != kind:
            events.append(self._make_room())
            self._prose = (kind, self._next)
            events.append(self._start({"type": kind, **empty}))
        index = self._prose[1]
        events.append(event("content_block_delta", index=index, delta=delta))
        return b"".join(events)

    def _continue(self, call: _Call) -> bytes:
        """Begin the call's block if need be, and pass its arguments on."""
        events = []
        if call.index is None:
            events.append(self._make_room())
            call.index = self._next
            self._open.append(call)
            own_id = call.said_id or f"toolu_{self.fresh()}"
            block = {"type": "tool_use", "id": own_id, "name": call.name, "input": {}}
            events.append(self._start(block))
        if call.held and not call.ended:
            call.arguments.see(call.held)
            delta = {"type": "input_json_delta", "partial_json": call.held}
            events.append(event("content_block_delta", index=call.index, delta=delta))
        call.held = ""
        return b"".join(events)

    def _find(self, position: object, said_id: str, name: str) -> _Call:
        """The call that a piece belongs to, begun if it is a new one.

        Some engines give no position, or the same to all; then the id tells, or that the
        one before is complete.
        """
        placed = isinstance(position, int)
        latest = self.calls[-1] if self.calls else None
        call = self._by_position.get(position) if isinstance(position, int) else latest
        if call is not None and name:
            ids_differ = bool(said_id and call.said_id and said_id != call.said_id)
            if ids_differ or (not placed and not said_id and call.arguments.complete):
                call = None
        if call is None:
            if len(self.calls) >= CALL_LIMIT:
                raise UpstreamFault(
                    FaultKind.BAD_ANSWER, f"The endpoint made more than {CALL_LIMIT} tool calls."
                )
            call = _Call()
            self.calls.append(call)
            if isinstance(position, int):
                self._by_position[position] = call
        call.said_id, call.name = call.said_id or said_id, call.name or name
        return call

    def _make_room(self) -> bytes:
        """End what has to end before the next block begins."""
        events = [self._close_prose()]
        events += [call.stop() for call in self._open if call.arguments.complete]
        self._open = [call for call in self._open if not call.arguments.complete]
        return b"".join(events)

    def _close_prose(self) -> bytes:
        if self._prose is None:
            return b""
        index, self._prose = self._prose[1], None
        return event("content_block_stop", index=index)

    def _start(self, block: Json) -> bytes:
        index, self._next = self._next, self._next + 1
        return event("content_block_start", index=index, content_block=block)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
