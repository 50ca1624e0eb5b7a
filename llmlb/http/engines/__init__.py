"""The engines that endpoints run: one file each, and which of their errors blame the request."""

from __future__ import annotations

from llmlb.http.engines.engine import EngineProfile
from llmlb.http.engines.llamacpp import LlamaCpp
from llmlb.http.engines.lmstudio import LmStudio
from llmlb.http.engines.ollama import Ollama
from llmlb.http.engines.openai import OpenAICompatible
from llmlb.http.engines.vllm import Vllm
from llmlb.http.engines.xllm import Xllm
from llmlb.types import Engine

PROFILES: tuple[EngineProfile, ...] = (
    Xllm(),
    LmStudio(),
    Ollama(),
    Vllm(),
    LlamaCpp(),
    OpenAICompatible(),
)
"""In the order of detection: the surer sign first, for some engines imitate others' routes."""

MATCHED_CHARS = 500
"""Of a message; the patterns stand at its beginning."""


def is_request_fault(engine: Engine | None, status: int, message: str) -> bool:
    """Whether a 5xx of *engine* with this error message is really a fault of the request."""
    return any(
        status == its_status and pattern.match(message[:MATCHED_CHARS]) is not None
        for profile in PROFILES
        if profile.engine is engine
        for its_status, pattern in profile.request_faults
    )
