"""Which OpenAI route answers in which dialect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from llmlb.accounting import Usage
from llmlb.errors import LbError
from llmlb.http.dialect import Dialect, Meter
from llmlb.http.inference import Remember, forget
from llmlb.http.openai.answer import (
    read_answer,
    read_any_object,
    read_error,
    read_transcript,
    refuse_error,
    refuse_page,
)
from llmlb.http.openai.response import read_response
from llmlb.http.openai.response_stream import ResponseMeter
from llmlb.http.openai.stream import StreamMeter
from llmlb.http.render import error_body, error_event, typed_error_event
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.types import Api


@dataclass(frozen=True, slots=True)
class _AsItComes:
    """What OpenAI's routes have in common: answers are checked and counted, never changed."""

    results: str = ""
    """The list of an answer that must not be empty."""
    event_limit_bytes: int = 64 * 1024
    only_json: bool = True

    def translator(self) -> None:
        return None

    def answer(self, body: bytes) -> tuple[bytes, Usage]:
        return body, read_answer(self.results, body)

    def error_body(self, error: LbError, request_id: str) -> bytes:  # noqa: ARG002
        return error_body(error)


@dataclass(frozen=True, slots=True)
class ChunkDialect(_AsItComes):
    """Chat, completions, and the routes that do not stream: chunks, without a type."""

    def meter(self, choices: int) -> Meter:
        return StreamMeter(choices=choices)

    def error_event(self, error: LbError) -> bytes:
        return error_event(error)


@dataclass(frozen=True, slots=True)
class _Typed(_AsItComes):
    """Routes whose streams are of typed events, so that an error is one of them, too."""

    def error_event(self, error: LbError) -> bytes:
        return typed_error_event(error)


@dataclass(frozen=True, slots=True)
class ResponseDialect(_Typed):
    """`/v1/responses`: one response that completes or fails."""

    event_limit_bytes: int = 8 * 1024 * 1024
    """The first event repeats the instructions and tools, the last one the whole output."""
    remember: Remember = forget
    """Told the ids of what the endpoint keeps."""

    def answer(self, body: bytes) -> tuple[bytes, Usage]:
        usage, kept = read_response(body)
        for kept_id in kept:
            self.remember(kept_id)
        return body, usage

    def meter(self, choices: int) -> Meter:  # noqa: ARG002 - there is always one response
        return ResponseMeter(remember=self.remember)


@dataclass(frozen=True, slots=True)
class KeptDialect(ResponseDialect):
    """What an endpoint says of a response that it keeps, whatever became of that."""

    def answer(self, body: bytes) -> tuple[bytes, Usage]:
        told = read_any_object(body)
        if "object" not in told:  # the error of a response that failed is its own
            refuse_error(told)
        return body, Usage()


@dataclass(frozen=True, slots=True)
class ImageDialect(_Typed):
    """`/v1/images/…`: a list of images, or sketches of them and then each as it is complete."""

    def meter(self, choices: int) -> Meter:
        return StreamMeter(choices=choices)


@dataclass(frozen=True, slots=True)
class TranscriptDialect(_Typed):
    """`/v1/audio/transcriptions` and `…/translations`: one transcript, in JSON or as text."""

    only_json: bool = False

    def meter(self, choices: int) -> Meter:  # noqa: ARG002 - there is always one transcript
        return StreamMeter()

    def answer(self, body: bytes) -> tuple[bytes, Usage]:
        return body, read_transcript(body)


@dataclass(frozen=True, slots=True)
class SpeechDialect(_Typed):
    """`/v1/audio/speech`: bytes of whatever format was asked for, or events that hold them."""

    only_json: bool = False

    def meter(self, choices: int) -> Meter:  # noqa: ARG002 - there is always one speech
        return StreamMeter()

    def answer(self, body: bytes) -> tuple[bytes, Usage]:
        if not body:
            raise UpstreamFault(FaultKind.BAD_ANSWER, "The endpoint answered with an empty body.")
        refuse_page(body)
        if body.startswith(b"{"):
            raise UpstreamFault(
                FaultKind.BAD_ANSWER, f"The endpoint answered: {read_error(200, body).message}"
            )
        return body, Usage()


DIALECTS: Mapping[Api, Dialect] = MappingProxyType(
    {
        Api.CHAT_COMPLETIONS: ChunkDialect("choices"),
        Api.COMPLETIONS: ChunkDialect("choices"),
        Api.EMBEDDINGS: ChunkDialect("data"),
        Api.RERANK: ChunkDialect("results"),
        Api.RESPONSES: ResponseDialect(),
        Api.IMAGE_GENERATIONS: ImageDialect("data"),
        Api.IMAGE_EDIT: ImageDialect("data"),
        Api.IMAGE_VARIATION: ImageDialect("data"),
        Api.SPEECH: SpeechDialect(),
        Api.TRANSCRIPTION: TranscriptDialect(),
        Api.TRANSLATION: TranscriptDialect(),
    }
)


def dialect_for(api: Api, remember: Remember) -> Dialect:
    """The dialect of one request; *remember* is told the ids of what an endpoint keeps of it."""
    return ResponseDialect(remember=remember) if api is Api.RESPONSES else DIALECTS[api]
