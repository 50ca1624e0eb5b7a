"""What a stream of chat chunks is as the stream of a message."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from llmlb.http.anthropic.answer import (
    calls_of,
    fresh_id,
    message_id,
    reasoning_of,
    stop_of,
    text_of,
)
from llmlb.http.anthropic.blocks import Blocks, event
from llmlb.http.anthropic.usage import in_messages
from llmlb.http.sse import data_of
from llmlb.http.upstream.faults import FaultKind, UpstreamFault

PING = event("ping")

EVENT_LIMIT_BYTES = 8 * 1024 * 1024
"""An event must be whole to be translated, and some engines send a tool call as one."""

_WHY_IT_ENDED = ("finish_reason", "stop_reason", "matched_stop")


class ChatToMessages:
    """Translates one stream, event by event. Sans-IO; keeps no text.

    *model* is the name that the client used; *thinking* passes a model's reasoning on as
    thinking blocks.
    """

    def __init__(
        self, model: str, *, thinking: bool = False, fresh: Callable[[], str] = fresh_id
    ) -> None:
        self._model = model
        self._thinking = thinking
        self._fresh = fresh
        self._blocks = Blocks(fresh)
        self._begun = False
        self._ended = False
        self._refused = False
        self._why: dict[str, Any] = {}
        """Of the choice, what tells why it ended."""
        self._usage: Any = None

    def feed(self, said: bytes) -> bytes:
        """The events that one whole event of the chat stream becomes; maybe none.

        Errors inside the stream are the meter's to find. Raises UpstreamFault for an event
        that cannot be understood: to skip it would lose a part of the answer.
        """
        if self._ended:
            return b""
        data = data_of(said)
        if data is None:
            return PING if self._begun else b""  # a comment keeps the connection alive
        if data.strip() == b"[DONE]":
            return self.finish()
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            raise UpstreamFault(
                FaultKind.BAD_ANSWER, "The endpoint's stream holds what is not JSON."
            ) from None
        if not isinstance(chunk, dict) or not isinstance(chunk.get("choices"), list):
            return b""
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        events = [] if self._begun else [self._begin(chunk.get("id"))]
        choices = (choice for choice in chunk["choices"] if isinstance(choice, dict))
        # Nobody asked for more than one.
        events += [self._take(c) for c in choices if c.get("index") in (None, 0)]
        return b"".join(events)

    def finish(self) -> bytes:
        """The end of the message, after a chat stream that has come to its own; once only."""
        if self._ended or not self._begun:
            return b""
        self._ended = True
        end = self._blocks.close()
        reason, sequence = stop_of(self._why, calls=bool(self._blocks.calls), refused=self._refused)
        return b"".join(
            [
                end,
                event(
                    "message_delta",
                    delta={"stop_reason": reason, "stop_sequence": sequence},
                    usage=in_messages(self._usage),
                ),
                event("message_stop"),
            ]
        )

    def _begin(self, said_id: object) -> bytes:
        self._begun = True
        message: dict[str, Any] = {
            "id": message_id(said_id, self._fresh),
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            # What there is so far: most engines count only at the end.
            "usage": {**in_messages(self._usage), "output_tokens": 0},
        }
        return event("message_start", message=message) + PING

    def _take(self, choice: dict[str, Any]) -> bytes:
        delta = choice.get("delta")
        events = self._said(delta) if isinstance(delta, dict) else []
        if choice.get("finish_reason"):
            self._why = {name: choice.get(name) for name in _WHY_IT_ENDED}
        return b"".join(events)

    def _said(self, delta: dict[str, Any]) -> list[bytes]:
        events = []
        if self._thinking and (thought := reasoning_of(delta)):
            events.append(self._blocks.thinking(thought))
        if text := text_of(delta.get("content")):
            events.append(self._blocks.text(text))
        if refusal := text_of(delta.get("refusal")):
            self._refused = True
            events.append(self._blocks.text(refusal))
        events += [self._blocks.call(call) for call in calls_of(delta)]
        return events
