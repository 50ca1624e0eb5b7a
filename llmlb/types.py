"""What llmlb talks about: endpoints, models and devices, all frozen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, NewType

if TYPE_CHECKING:
    from datetime import datetime

EndpointId = NewType("EndpointId", str)
"""A UUID in its canonical text form."""

EMA_WEIGHT = 0.2
"""α of every latency EMA."""


def ema(previous: float | None, sample: float) -> float:
    """Fold *sample* into an exponential moving average: `α·sample + (1−α)·previous`.

    The first sample is taken as it is, and so is the first one after `inf` (offline).
    """
    if previous is None or math.isinf(previous):
        return sample
    return EMA_WEIGHT * sample + (1 - EMA_WEIGHT) * previous


class Status(StrEnum):
    """What the last probes said of an endpoint."""

    PENDING = "pending"
    ONLINE = "online"
    OFFLINE = "offline"
    ERROR = "error"


class Mode(StrEnum):
    """What the operator wants of an endpoint.

    `draining` finishes what runs and admits nothing new; `disabled` is not even probed.
    """

    ENABLED = "enabled"
    DRAINING = "draining"
    DISABLED = "disabled"


class Engine(StrEnum):
    """The software behind an endpoint: only ever detected, for display and probing."""

    LLAMACPP = "llama.cpp"
    OLLAMA = "ollama"
    VLLM = "vllm"
    LM_STUDIO = "lm-studio"
    XLLM = "xllm"
    OPENAI = "openai"


ASSUMED_CONCURRENCY: Mapping[Engine | None, int] = MappingProxyType(
    {Engine.VLLM: 64, Engine.LM_STUDIO: 4, Engine.OLLAMA: 4}
)
"""Requests at once when neither the operator nor the engine says; all others: 8."""


class Api(StrEnum):
    """The inference routes that are measured apart from one another."""

    CHAT_COMPLETIONS = "chat_completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RESPONSES = "responses"
    RERANK = "rerank"
    MESSAGES = "messages"
    IMAGE_GENERATIONS = "image_generations"
    IMAGE_EDIT = "image_edit"
    IMAGE_VARIATION = "image_variation"
    SPEECH = "speech"
    TRANSCRIPTION = "transcription"
    TRANSLATION = "translation"
    COUNT_TOKENS = "count_tokens"
    """No inference, and not measured."""


MOST_STORED_RESPONSES = 50_000
"""As many stored responses and conversations are remembered; the oldest are forgotten."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a stored response or conversation lives: no other endpoint knows of it."""

    endpoint_id: EndpointId
    owner: str | None
    """The id of the API key it was made with; None: made without a key."""
    made_at: datetime


class Capability(StrEnum):
    """What a model can be asked for."""

    CHAT_COMPLETION = "chat_completion"
    EMBEDDINGS = "embeddings"
    IMAGE_GENERATION = "image_generation"
    AUDIO_TRANSCRIPTION = "audio_transcription"
    AUDIO_SPEECH = "audio_speech"
    IMAGE_UNDERSTANDING = "image_understanding"


class DeviceType(StrEnum):
    """What an endpoint computes on."""

    CPU = "cpu"
    GPU = "gpu"


@dataclass(frozen=True, slots=True)
class GpuDevice:
    """One GPU of an endpoint; memory is None where the endpoint does not tell."""

    name: str
    total_memory_bytes: int | None = None
    used_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What an endpoint computes on, as it told at registration."""

    device_type: DeviceType
    gpu_devices: tuple[GpuDevice, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """One model as one endpoint lists it, under the endpoint's own name."""

    id: str
    capabilities: frozenset[Capability] = frozenset({Capability.CHAT_COMPLETION})
    max_tokens: int | None = None
    """Context length in tokens; None where the endpoint does not tell."""
    perhaps: frozenset[Capability] = frozenset()
    """What it may be able to do, or not: neither the endpoint nor the name tells."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One upstream inference server.

    `api_key` and `extra_headers` are secrets: they never show in `repr`.
    """

    id: EndpointId
    name: str
    base_url: str
    """Normalised, without a trailing slash and without `/v1`."""
    registered_at: datetime
    status: Status = Status.PENDING
    mode: Mode = Mode.ENABLED
    latency_ms: float | None = None
    """EMA of the response time; None: not measured, inf: offline."""
    device_info: DeviceInfo | None = None
    device_note: str | None = None
    """Why there is no device_info, where the endpoint was asked and gave none."""
    engine: Engine | None = None
    api_key: str | None = field(default=None, repr=False)
    extra_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    tls_verify: bool = True
    """Whether its certificate has to be good; false: whoever answers is believed."""
    ca_certificate: str | None = field(default=None, repr=False)
    """Who may have signed it, in PEM and in place of the well-known authorities; no secret."""
    health_check_interval_s: float = 30
    inference_timeout_s: float = 120
    max_concurrency: int | None = None
    """Requests at once, as the operator set it."""
    engine_concurrency: int | None = None
    """Requests at once, as the engine says."""
    model_aliases: tuple[tuple[str, str], ...] = ()
    """Other names of its models, and the id of each, as the operator set them."""
    model_capabilities: tuple[tuple[str, frozenset[Capability]], ...] = ()
    """What its models can do, by id, where the operator knows better."""
    notes: str | None = None
    declared: bool = False
    """It stands in llmlb.toml, and is edited only there."""
    models: tuple[Model, ...] = ()
    last_seen_at: datetime | None = None
    last_error: str | None = None
    error_count: int = 0
    native_apis: frozenset[Api] = frozenset()
    """Routes that not every engine has, as found at the last sync."""
    loaded_models: frozenset[str] | None = None
    """Which of its models are in memory, where it loads them on demand and tells; else None."""
    probed: bool = False
    """It has been probed since this process started."""
    synced: bool = False
    """Its models have been read since this process started."""

    @property
    def initialising(self) -> bool:
        """Nothing certain is known yet, so it is worth waiting for."""
        if self.status is Status.PENDING or not self.probed:
            return True
        return self.status is Status.ONLINE and not self.synced

    @property
    def capacity(self) -> int:
        """How many requests may run on it at once."""
        said = self.max_concurrency or self.engine_concurrency
        return said or ASSUMED_CONCURRENCY.get(self.engine, 8)

    @property
    def capacity_is_assumed(self) -> bool:
        """Neither the operator nor the engine named the capacity."""
        return self.max_concurrency is None and self.engine_concurrency is None

    def would_load(self, model: str) -> bool:
        """Whether a request for *model* surely makes it load the model first."""
        return self.loaded_models is not None and model not in self.loaded_models

    def offers(self, model: str) -> bool:
        """Whether it lists *model* by exactly this name."""
        return any(m.id == model for m in self.models)

    def as_overruled(self) -> Endpoint:
        """This endpoint with its models as the operator describes them, beyond doubt."""
        said = dict(self.model_capabilities)
        if not any(m.id in said for m in self.models):
            return self
        return replace(
            self,
            models=tuple(
                Model(m.id, said[m.id], m.max_tokens) if m.id in said else m for m in self.models
            ),
        )

    def is_same_server_as(self, other: Endpoint) -> bool:
        """Whether what was observed of *other* holds for this one as well."""
        return self._reached_by() == other._reached_by()

    def _reached_by(self) -> tuple[object, ...]:
        return (
            self.base_url,
            self.api_key,
            self.extra_headers,
            self.tls_verify,
            self.ca_certificate,
        )

    def as_another_server(self) -> Endpoint:
        """This endpoint without anything that was observed of it, to be probed anew."""
        return replace(
            self,
            status=Status.PENDING,
            engine=None,
            engine_concurrency=None,
            native_apis=frozenset(),
            loaded_models=None,
            device_info=None,
            device_note=None,
            last_seen_at=None,
            last_error=None,
            error_count=0,
            probed=False,
            synced=False,
        )

    def update_latency(self, sample_ms: float) -> Endpoint:
        """This endpoint with one more successful response of *sample_ms* in its EMA."""
        return replace(self, latency_ms=ema(self.latency_ms, sample_ms))

    def reset_latency(self) -> Endpoint:
        """This endpoint as it counts while it is offline: infinitely slow."""
        return replace(self, latency_ms=math.inf)


@dataclass(frozen=True, slots=True)
class Survey:
    """What a running endpoint tells of itself, beyond being alive."""

    engine: Engine
    models: tuple[Model, ...]
    engine_concurrency: int | None = None
    native_apis: frozenset[Api] = frozenset()


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """The device an endpoint tells of at registration, or a note why there is none."""

    info: DeviceInfo | None = None
    note: str | None = None
