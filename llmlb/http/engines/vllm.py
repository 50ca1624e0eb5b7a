"""vLLM: owns its models by name, lists their length, and has the routes of their tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from llmlb.http.engines.capabilities import NOTHING_MORE, plain_model
from llmlb.http.engines.engine import FaultTable
from llmlb.http.engines.foreign import JsonObject, count, mapping
from llmlb.http.engines.inquiry import Inquiry
from llmlb.http.engines.listing import Listing
from llmlb.types import Capability, Engine, Model, Survey

_ROUTES: Mapping[str, Capability] = MappingProxyType(
    {
        "/v1/chat/completions": Capability.CHAT_COMPLETION,
        "/v1/embeddings": Capability.EMBEDDINGS,
        "/v1/audio/transcriptions": Capability.AUDIO_TRANSCRIPTION,
    }
)
"""What a route says of the one model (and its adapters) that a server runs."""


class Vllm:
    """Batches continuously and does not say how many requests it takes at once."""

    engine = Engine.VLLM

    request_faults: FaultTable = ()
    """It answers 400 to what it cannot read."""

    def evident(self, listing: Listing) -> bool:
        if "vllm" in listing.server or listing.owned_by("vllm"):
            return True
        # Others copied the field, and name themselves as the owner (SGLang).
        return any(
            count(entry.get("max_model_len")) is not None and not entry.get("owned_by")
            for entry in listing.models.values()
        )

    async def survey(self, listing: Listing, inquiry: Inquiry) -> Survey | None:
        if not self.evident(listing):
            return None
        served = served_by(await inquiry.ask("GET", "/openapi.json"))
        models = (plain_model(m, entry) for m, entry in listing.models.items())
        return Survey(self.engine, tuple(with_served(model, served) for model in models))


def served_by(description: JsonObject) -> frozenset[Capability]:
    """What a server can do by the routes it has: those of its model's tasks, and no others.

    Nothing, where it does not tell: its description can be turned off, and older versions have
    every route whatever they run.
    """
    paths = mapping(description.get("paths"))
    served = frozenset(capability for path, capability in _ROUTES.items() if path in paths)
    return NOTHING_MORE if len(served) == len(_ROUTES) else served


def with_served(model: Model, served: frozenset[Capability]) -> Model:
    """*model* on a server that does what is *served*; whether it reads images stays open."""
    if not served:
        return model
    if Capability.CHAT_COMPLETION not in served:
        return replace(model, capabilities=served, perhaps=NOTHING_MORE)
    sight = frozenset({Capability.IMAGE_UNDERSTANDING})
    return replace(
        model,
        capabilities=served | (model.capabilities & sight),
        perhaps=model.perhaps & sight,
    )
