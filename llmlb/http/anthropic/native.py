"""`/v1/messages`, answered by endpoints that speak it themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmlb.accounting import Usage
from llmlb.errors import LbError
from llmlb.http.anthropic.errors import error_body, error_event
from llmlb.http.anthropic.native_stream import MessageMeter
from llmlb.http.anthropic.usage import from_messages
from llmlb.http.dialect import Meter
from llmlb.http.openai.answer import read_error, read_object
from llmlb.http.upstream.faults import FaultKind, UpstreamFault

CLIENT_HEADERS = ("anthropic-version", "anthropic-beta")
"""What such an endpoint understands of the client's headers, beside the usual ones."""


@dataclass(frozen=True, slots=True)
class _Native:
    """What the routes of this dialect have in common: answers are passed on as they come."""

    event_limit_bytes: int = 64 * 1024
    only_json: bool = True

    def meter(self, choices: int) -> Meter:  # noqa: ARG002 - there is always one message
        return MessageMeter()

    def translator(self) -> None:
        return None

    def error_body(self, error: LbError, request_id: str) -> bytes:
        return error_body(error, request_id)

    def error_event(self, error: LbError) -> bytes:
        return error_event(error)


@dataclass(frozen=True, slots=True)
class NativeDialect(_Native):
    """A message, whole or as a stream."""

    def answer(self, body: bytes) -> tuple[bytes, Usage]:
        message = _object(body)
        content = message.get("content")
        if not isinstance(content, list) or not (content or message.get("stop_reason")):
            raise UpstreamFault(FaultKind.BAD_ANSWER, "The endpoint's answer has no content.")
        return body, from_messages(message.get("usage"))


@dataclass(frozen=True, slots=True)
class CountTokensDialect(_Native):
    """How many tokens a message would have."""

    def answer(self, body: bytes) -> tuple[bytes, Usage]:
        count = _object(body).get("input_tokens")
        if not isinstance(count, int) or isinstance(count, bool):
            raise UpstreamFault(FaultKind.BAD_ANSWER, "The endpoint's answer counts no tokens.")
        return body, Usage()


def _object(body: bytes) -> dict[str, Any]:
    """The answer, if it is one. Raises UpstreamFault."""
    answer = read_object(body)
    if answer.get("type") == "error":
        raise UpstreamFault(
            FaultKind.BAD_ANSWER, f"The endpoint answered: {read_error(200, body).message}"
        )
    return answer
