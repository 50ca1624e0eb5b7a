"""Where each inference API is found, here and at every endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from llmlb.types import Api

PATHS: Mapping[Api, str] = MappingProxyType(
    {
        Api.CHAT_COMPLETIONS: "/v1/chat/completions",
        Api.COMPLETIONS: "/v1/completions",
        Api.EMBEDDINGS: "/v1/embeddings",
        Api.RESPONSES: "/v1/responses",
        Api.RERANK: "/v1/rerank",
        Api.MESSAGES: "/v1/messages",
        Api.COUNT_TOKENS: "/v1/messages/count_tokens",
        Api.IMAGE_GENERATIONS: "/v1/images/generations",
        Api.IMAGE_EDIT: "/v1/images/edits",
        Api.IMAGE_VARIATION: "/v1/images/variations",
        Api.SPEECH: "/v1/audio/speech",
        Api.TRANSCRIPTION: "/v1/audio/transcriptions",
        Api.TRANSLATION: "/v1/audio/translations",
    }
)
