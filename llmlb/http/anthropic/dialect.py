"""`/v1/messages`, answered by endpoints that speak chat completions."""

from __future__ import annotations

from dataclasses import dataclass

from llmlb.accounting import Usage
from llmlb.errors import LbError
from llmlb.http.anthropic.answer import from_chat
from llmlb.http.anthropic.errors import error_body, error_event
from llmlb.http.anthropic.stream import EVENT_LIMIT_BYTES, ChatToMessages
from llmlb.http.dialect import Meter
from llmlb.http.openai.stream import StreamMeter


@dataclass(frozen=True, slots=True)
class MessagesDialect:
    """The answers to one request: chat completions, translated."""

    model: str = ""
    thinking: bool = False
    """Pass a model's reasoning on."""
    event_limit_bytes: int = EVENT_LIMIT_BYTES
    only_json: bool = True

    def meter(self, choices: int) -> Meter:
        return StreamMeter(choices=choices)

    def translator(self) -> ChatToMessages:
        return ChatToMessages(self.model, thinking=self.thinking)

    def answer(self, body: bytes) -> tuple[bytes, Usage]:
        return from_chat(body, self.model, thinking=self.thinking)

    def error_body(self, error: LbError, request_id: str) -> bytes:
        return error_body(error, request_id)

    def error_event(self, error: LbError) -> bytes:
        return error_event(error)
