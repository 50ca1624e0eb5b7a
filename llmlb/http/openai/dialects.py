"""Which OpenAI route answers in which dialect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from llmlb.accounting import Usage
from llmlb.errors import LbError
from llmlb.http.dialect import Dialect, Meter
from llmlb.http.openai.answer import read_answer, read_error
from llmlb.http.openai.response_stream import ResponseMeter
from llmlb.http.openai.stream import StreamMeter
from llmlb.http.render import error_body, error_event
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.types import Api


@dataclass(frozen=True, slots=True)
class _AsItComes:
    """What OpenAI's routes have in common: answers are checked and counted, never changed."""

    results: str
    """The list of an answer that must not be empty."""
    event_limit_bytes: int = 64 * 1024

    def translator(self) -> None:
        return None

    def answer(self, body: bytes) -> tuple[bytes, Usage]:
        return body, read_answer(self.results, body)

    def error_body(self, error: LbError, request_id: str) -> bytes:  # noqa: ARG002
        return error_body(error)


@dataclass(frozen=True, slots=True)
class ChunkDialect(_AsItComes):
    """Chat, completions, and the routes that do not stream."""

    def meter(self, choices: int) -> Meter:
        return StreamMeter(choices)

    def error_event(self, error: LbError) -> bytes:
        return error_event(error)


@dataclass(frozen=True, slots=True)
class ResponseDialect(_AsItComes):
    """`/v1/responses`: typed events, one response that completes or fails."""

    def meter(self, choices: int) -> Meter:  # noqa: ARG002 - there is always one response
        return ResponseMeter()

    def error_event(self, error: LbError) -> bytes:
        said = error.openai()
        data = {"type": "error", "code": said.code, "message": said.message, "param": said.param}
        text = json.dumps(data, ensure_ascii=False).encode(errors="replace")
        return b"event: error\ndata: " + text + b"\n\n"


@dataclass(frozen=True, slots=True)
class BinaryDialect(_AsItComes):
    """`/v1/audio/speech`: bytes of whatever format was asked for."""

    def meter(self, choices: int) -> Meter:
        return StreamMeter(choices)

    def answer(self, body: bytes) -> tuple[bytes, Usage]:
        if not body:
            raise UpstreamFault(FaultKind.BAD_ANSWER, "The endpoint answered with an empty body.")
        if body.startswith(b"{"):
            raise UpstreamFault(
                FaultKind.BAD_ANSWER, f"The endpoint answered: {read_error(200, body).message}"
            )
        return body, Usage()

    def error_event(self, error: LbError) -> bytes:
        return error_event(error)


DIALECTS: Mapping[Api, Dialect] = MappingProxyType(
    {
        Api.CHAT_COMPLETIONS: ChunkDialect("choices"),
        Api.COMPLETIONS: ChunkDialect("choices"),
        Api.EMBEDDINGS: ChunkDialect("data"),
        Api.RERANK: ChunkDialect("results"),
        Api.RESPONSES: ResponseDialect("output"),
        Api.IMAGE_GENERATIONS: ChunkDialect("data"),
        Api.SPEECH: BinaryDialect(""),
    }
)
