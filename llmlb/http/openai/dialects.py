"""Which OpenAI route answers in which dialect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from llmlb.accounting import Usage
from llmlb.errors import LbError
from llmlb.http.dialect import Dialect, Meter
from llmlb.http.openai.answer import read_answer
from llmlb.http.openai.response_stream import ResponseMeter
from llmlb.http.openai.stream import StreamMeter
from llmlb.http.render import error_event
from llmlb.types import Api


@dataclass(frozen=True, slots=True)
class ChunkDialect:
    """Chat, completions, and the routes that do not stream: results in a list of that name."""

    results: str

    def meter(self, choices: int) -> Meter:
        return StreamMeter(choices)

    def read_answer(self, body: bytes) -> Usage:
        return read_answer(self.results, body)

    def error_event(self, error: LbError) -> bytes:
        return error_event(error)


@dataclass(frozen=True, slots=True)
class ResponseDialect:
    """`/v1/responses`: typed events, one response that completes or fails."""

    def meter(self, choices: int) -> Meter:  # noqa: ARG002 - there is always one response
        return ResponseMeter()

    def read_answer(self, body: bytes) -> Usage:
        return read_answer("output", body)

    def error_event(self, error: LbError) -> bytes:
        said = error.openai()
        data = {"type": "error", "code": said.code, "message": said.message, "param": said.param}
        text = json.dumps(data, ensure_ascii=False).encode(errors="replace")
        return b"event: error\ndata: " + text + b"\n\n"


DIALECTS: Mapping[Api, Dialect] = MappingProxyType(
    {
        Api.CHAT_COMPLETIONS: ChunkDialect("choices"),
        Api.COMPLETIONS: ChunkDialect("choices"),
        Api.EMBEDDINGS: ChunkDialect("data"),
        Api.RERANK: ChunkDialect("results"),
        Api.RESPONSES: ResponseDialect(),
    }
)
