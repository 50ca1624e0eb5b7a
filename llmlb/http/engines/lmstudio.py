"""LM Studio: lists all it has in /api/v1/models (0.4 and later) or /api/v0/models."""

from __future__ import annotations

from dataclasses import replace

from llmlb.http.engines.capabilities import EMBEDDINGS, plain_model, with_vision
from llmlb.http.engines.engine import FaultTable
from llmlb.http.engines.foreign import JsonObject, count, mapping, objects
from llmlb.http.engines.inquiry import Inquiry
from llmlb.http.engines.listing import Listing
from llmlb.types import Engine, Model, Survey

_OWN_LISTS = ("/api/v1/models", "/api/v0/models")

_MARKS = {"key", "state", "arch", "publisher", "compatibility_type", "loaded_instances"}
"""Fields that only LM Studio's entries have; two of them are proof."""


class LmStudio:
    """Loads models on demand, several at a time."""

    engine = Engine.LM_STUDIO

    request_faults: FaultTable = ()

    def evident(self, listing: Listing) -> bool:
        return any(
            word in listing.server or listing.owned_by(word) for word in ("lm-studio", "lmstudio")
        )

    async def survey(self, listing: Listing, inquiry: Inquiry) -> Survey | None:
        entries = await own_entries(inquiry)
        if entries is None:
            if not self.evident(listing):
                return None
            entries = {}
        return Survey(
            self.engine,
            tuple(
                entry_model(model_id, entries[model_id])
                if model_id in entries
                else plain_model(model_id, entry)
                for model_id, entry in listing.models.items()
            ),
        )


async def models_in_memory(inquiry: Inquiry) -> frozenset[str] | None:
    """Every name of what its own list calls loaded; None if it does not tell."""
    entries = await own_entries(inquiry) or {}
    if not any("loaded_instances" in e or "state" in e for e in entries.values()):
        return None
    return frozenset(
        name
        for name, entry in entries.items()
        if entry.get("loaded_instances") or entry.get("state") == "loaded"
    )


async def own_entries(inquiry: Inquiry) -> dict[str, JsonObject] | None:
    """What its own list tells, by every name of a model; None if it has none."""
    for path in _OWN_LISTS:
        entries = parse_entries(await inquiry.ask("GET", path))
        if entries is not None:
            return entries
    return None


def parse_entries(body: JsonObject) -> dict[str, JsonObject] | None:
    """LM Studio's own entries by every name they can be called by; None if it is not its list."""
    entries = objects(body.get("models")) or objects(body.get("data"))
    if not any(len(_MARKS & entry.keys()) >= 2 for entry in entries):
        return None
    by_name: dict[str, JsonObject] = {}
    for entry in entries:
        instances = objects(entry.get("loaded_instances"))
        for called in (entry.get("key"), entry.get("id"), *(i.get("id") for i in instances)):
            if isinstance(called, str):
                by_name.setdefault(called, entry)
    return by_name


def entry_model(model_id: str, entry: JsonObject) -> Model:
    """One model as LM Studio's own list tells of it."""
    max_tokens = count(entry.get("max_context_length"))
    vision = mapping(entry.get("capabilities")).get("vision")
    match entry.get("type"):
        case "embedding" | "embeddings":
            return Model(model_id, EMBEDDINGS, max_tokens)
        case "vlm":
            vision = True
        case "llm" if not isinstance(vision, bool):
            vision = False
    if isinstance(vision, bool):
        return Model(model_id, with_vision(model_id, vision=vision), max_tokens)
    return replace(plain_model(model_id, entry), max_tokens=max_tokens)
