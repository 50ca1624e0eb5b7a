"""What a model can be asked for, by what is said of it, else by its name."""

from __future__ import annotations

from llmlb.http.engines.foreign import JsonObject, count, mapping, words
from llmlb.types import Capability, Model

CHAT = frozenset({Capability.CHAT_COMPLETION})
VISION = frozenset({Capability.CHAT_COMPLETION, Capability.IMAGE_UNDERSTANDING})
EMBEDDINGS = frozenset({Capability.EMBEDDINGS})

_CONTEXT_FIELDS = ("max_model_len", "context_length", "context_window", "max_context_length")


def by_name(model_id: str) -> frozenset[Capability]:
    """The capabilities that the last segment of a model's name suggests."""
    segment = model_id.rsplit("/", 1)[-1].lower()
    if segment.startswith("embed") or "-embed" in segment or "_embed" in segment:
        return EMBEDDINGS
    if segment.startswith(("llava", "qwen-vl", "qwen2-vl")):
        return VISION
    if any(part in segment for part in ("-vision", "_vision", "-vl-")):
        return VISION
    return CHAT


def with_vision(model_id: str, *, vision: bool) -> frozenset[Capability]:
    """The capabilities of a model of which it is known whether it takes images."""
    if vision:
        return VISION
    return by_name(model_id) - {Capability.IMAGE_UNDERSTANDING}


def said(model_id: str, entry: JsonObject) -> frozenset[Capability]:
    """The capabilities by an entry of /v1/models, where it says them, else by its name.

    Said as `architecture.input_modalities` (llama.cpp, OpenRouter), or as an object
    `capabilities` of our own names and booleans (another llmlb).
    """
    flags = mapping(entry.get("capabilities"))
    flagged = frozenset(c for c in Capability if flags.get(c.value) is True)
    if flagged:
        return flagged
    inputs = words(mapping(entry.get("architecture")).get("input_modalities"))
    if inputs:
        return with_vision(model_id, vision="image" in inputs)
    return by_name(model_id)


def plain_model(model_id: str, entry: JsonObject) -> Model:
    """A model by its entry alone, in the fields that OpenAI-compatible servers share."""
    sizes = (count(entry.get(field)) for field in _CONTEXT_FIELDS)
    max_tokens = next((size for size in sizes if size is not None), None)
    return Model(model_id, said(model_id, entry), max_tokens)
