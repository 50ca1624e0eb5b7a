"""Has a message's own stream begun to say something, has it said all, what did it cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmlb.http.anthropic.usage import from_messages
from llmlb.http.openai.event_meter import EventMeter


@dataclass(slots=True)
class MessageMeter(EventMeter):
    """Follows the typed events of one message, which has an end of its own.

    `[DONE]`, no word of this dialect, ends it too: some engines end all streams alike.
    """

    def _names(self, events: bytes) -> bool:
        return events.find(b"message_") >= 0  # `message_start`, `message_delta`, `message_stop`

    def _take_ends(self, ends: bytes) -> None:
        """Only content is that long."""

    def _take(self, kind: str, event: dict[str, Any]) -> bool:
        match kind:
            case "message_start":
                message = event.get("message")
                said = message.get("usage") if isinstance(message, dict) else None
                self.usage = from_messages(said, self.usage)
            case "message_delta":
                self.begun = True
                # Counted from the beginning of the message, so the last one holds.
                self.usage = from_messages(event.get("usage"), self.usage)
            case "message_stop":
                self.done = True
            case "ping":
                pass
            case _:
                self.begun = True
        return False
