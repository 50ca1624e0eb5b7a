"""What an engine tells of the files behind one model."""

from __future__ import annotations

from dataclasses import dataclass

from llmlb.http.engines.foreign import JsonObject, count, mapping, name, objects
from llmlb.http.engines.inquiry import Inquiry
from llmlb.http.engines.lmstudio import own_entries
from llmlb.http.upstream.client import UpstreamClient
from llmlb.types import Endpoint, Engine

ASK_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Weights:
    """None where the engine does not tell."""

    size_bytes: int | None = None
    parameters: str | None = None
    """How many, as "8.0B"."""
    quantization: str | None = None
    family: str | None = None
    """Its architecture."""
    format: str | None = None


async def weights_of(client: UpstreamClient, endpoint: Endpoint, model_id: str) -> Weights:
    """What *endpoint* tells now; nothing where it does not answer. Raises nothing."""
    inquiry = Inquiry(client, endpoint, ASK_LIMIT_S)
    match endpoint.engine:
        case Engine.OLLAMA:
            for entry in objects((await inquiry.ask("GET", "/api/tags")).get("models")):
                if model_id in (entry.get("name"), entry.get("model")):
                    return of_ollama(entry)
        case Engine.LM_STUDIO:
            entries = await own_entries(inquiry) or {}
            return of_lm_studio(entries.get(model_id, {}))
    return Weights()


def of_ollama(entry: JsonObject) -> Weights:
    """One model as /api/tags lists it."""
    details = mapping(entry.get("details"))
    return Weights(
        count(entry.get("size")),
        name(details.get("parameter_size")),
        name(details.get("quantization_level")),
        name(details.get("family")),
        name(details.get("format")),
    )


def of_lm_studio(entry: JsonObject) -> Weights:
    """One model as its own list tells of it, in version 0.4 (`/api/v1`) or before."""
    quantization = entry.get("quantization")
    if isinstance(quantization, dict):
        quantization = quantization.get("name")
    return Weights(
        count(entry.get("size_bytes")),
        name(entry.get("params_string")),
        name(quantization),
        name(entry.get("architecture") or entry.get("arch")),
        name(entry.get("format") or entry.get("compatibility_type")),
    )
