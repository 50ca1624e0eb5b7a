"""Ollama: lists its models in /api/tags, and tells of each in /api/show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from llmlb.http.engines.capabilities import (
    CHAT,
    EMBEDDINGS,
    IMAGES,
    NOTHING_MORE,
    VISION,
    plain_model,
)
from llmlb.http.engines.details import for_each_model
from llmlb.http.engines.engine import FaultTable
from llmlb.http.engines.foreign import JsonObject, count, mapping, words
from llmlb.http.engines.inquiry import Inquiry
from llmlb.http.engines.listing import Listing
from llmlb.types import Capability, Engine, Model, Survey

_SAID: Mapping[str, frozenset[Capability]] = MappingProxyType(
    {
        "completion": CHAT,
        "tools": CHAT,
        "thinking": CHAT,
        "vision": VISION,
        "embedding": EMBEDDINGS,
        "image": IMAGES,
    }
)
"""What it calls what a model can do. `audio` is heard in a chat: no sign of transcription."""


class Ollama:
    """Loads models on demand; /api/show reads a file's metadata and loads nothing."""

    engine = Engine.OLLAMA

    request_faults: FaultTable = (
        # An image for a model without eyes; newer versions say it with a 400.
        (500, re.compile(r".*this model is missing data required for image input")),
    )

    def evident(self, listing: Listing) -> bool:  # noqa: ARG002 - /v1/models names no engine
        return False

    async def survey(self, listing: Listing, inquiry: Inquiry) -> Survey | None:
        tags = await inquiry.ask("GET", "/api/tags")
        if not isinstance(tags.get("models"), list):
            return None
        models = {m: plain_model(m, entry) for m, entry in listing.models.items()}

        async def look(model: Model) -> None:
            shown = await inquiry.ask("POST", "/api/show", {"model": model.id})
            models[model.id] = shown_model(model, shown)

        await for_each_model(list(models.values()), look, within_s=2 * inquiry.timeout_s)
        return Survey(self.engine, tuple(models.values()))


async def models_in_memory(inquiry: Inquiry) -> frozenset[str] | None:
    """What /api/ps lists; None if it does not tell."""
    running = (await inquiry.ask("GET", "/api/ps")).get("models")
    if not isinstance(running, list):
        return None
    return frozenset(
        name
        for entry in running
        for name in (mapping(entry).get("name"), mapping(entry).get("model"))
        if isinstance(name, str)
    )


def shown_model(model: Model, shown: JsonObject) -> Model:
    """*model* with what /api/show says of it, where it says anything."""
    found = [_SAID[word] for word in words(shown.get("capabilities")) if word in _SAID]
    capabilities, perhaps = model.capabilities, model.perhaps
    if found:
        capabilities, perhaps = frozenset[Capability]().union(*found), NOTHING_MORE
    lengths = (
        count(value)
        for key, value in mapping(shown.get("model_info")).items()
        if key.endswith(".context_length")  # the key begins with the architecture: llama. …
    )
    max_tokens = next((length for length in lengths if length is not None), model.max_tokens)
    return Model(model.id, capabilities, max_tokens, perhaps)
