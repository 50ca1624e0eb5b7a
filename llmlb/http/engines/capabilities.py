"""What a model can be asked for, by what is said of it, else by its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from llmlb.http.engines.foreign import JsonObject, count, mapping, words
from llmlb.types import Capability, Model

CHAT = frozenset({Capability.CHAT_COMPLETION})
VISION = frozenset({Capability.CHAT_COMPLETION, Capability.IMAGE_UNDERSTANDING})
EMBEDDINGS = frozenset({Capability.EMBEDDINGS})

TRANSCRIPTION = frozenset({Capability.AUDIO_TRANSCRIPTION})
SPEECH = frozenset({Capability.AUDIO_SPEECH})
IMAGES = frozenset({Capability.IMAGE_GENERATION})

EVERYTHING = frozenset(Capability)
NOTHING_MORE: frozenset[Capability] = frozenset()

_TEXT_ONLY = re.compile(
    r"(llama-?2|llama-?3|llama-?3\.1|llama-?3\.3|codellama|mistral-7b|mistral-nemo|mixtral|qwen2|qwen2\.5"
    r"|phi-?2|phi-?3|phi-?4|deepseek-(r1|v2|v3|coder)|tinyllama|gpt-3\.5|gpt-oss)(?![a-z0-9.])",
    re.ASCII,
)
"""Families of which every model (that is not named for its eyes or ears) reads text alone."""

_MORE_THAN_TEXT = re.compile(r"vision|multimodal|omni|audio|llava|[-_]v(l|lm)?([-_:.]|$)")

_BY_NAME: tuple[tuple[re.Pattern[str], frozenset[Capability]], ...] = (
    (
        re.compile(r"embed|.*[-_]embed|bge-(?!reranker)|gte-|(multilingual-)?e5-|all-minilm"),
        EMBEDDINGS,
    ),
    (re.compile(r".*whisper|parakeet|.*[-_]asr([-_.:]|$)"), TRANSCRIPTION),
    (re.compile(r"(.*[-_])?x?tts([-_.:0-9]|$)|kokoro|piper|chatterbox|orpheus"), SPEECH),
    (
        re.compile(
            r"flux([-_.:0-9]|$)|.*stable-?diffusion|sdxl|sd3|sd-turbo|dall-e|gpt-image"
            r"|pixart|(qwen|hunyuan|z)-?image"
        ),
        IMAGES,
    ),
    (re.compile(r"llava|qwen2?-vl|.*([-_]vision|-vl-)"), VISION),
)
"""What the beginning of a name says; the first that fits."""

_BY_TASK: Mapping[str, frozenset[Capability]] = MappingProxyType(
    {
        "embed": EMBEDDINGS,
        "embedding": EMBEDDINGS,
        "embeddings": EMBEDDINGS,
        "feature-extraction": EMBEDDINGS,
        "sentence-similarity": EMBEDDINGS,
        "automatic-speech-recognition": TRANSCRIPTION,
        "transcription": TRANSCRIPTION,
        "speech-to-text": TRANSCRIPTION,
        "text-to-speech": SPEECH,
        "text-to-audio": SPEECH,
        "tts": SPEECH,
        "text-to-image": IMAGES,
        "image": IMAGES,
        "image-text-to-text": VISION,
        "vlm": VISION,
    }
)
"""Words of Hugging Face and of those who follow it; "generate" and the like leave images open."""

_TASK_FIELDS = ("task", "pipeline_tag", "model_type", "type")

_CONTEXT_FIELDS = ("max_model_len", "context_length", "context_window", "max_context_length")


def by_name(model_id: str) -> frozenset[Capability]:
    """The capabilities that the last segment of a model's name suggests."""
    segment = model_id.rsplit("/", 1)[-1].lower()
    fitting = (capabilities for pattern, capabilities in _BY_NAME if pattern.match(segment))
    return next(fitting, CHAT)


def perhaps_by_name(model_id: str) -> frozenset[Capability]:
    """What else a model may be able to do, of which only the name is known.

    Many vision models have names that say nothing (gemma-3, pixtral), so an image must not be
    refused for want of a hint; only where the name belongs to a family that is text only.
    """
    segment = model_id.rsplit("/", 1)[-1].lower()
    sure = by_name(model_id)
    if sure != CHAT or (_TEXT_ONLY.match(segment) and not _MORE_THAN_TEXT.search(segment)):
        return NOTHING_MORE
    return EVERYTHING - sure


def with_vision(model_id: str, *, vision: bool) -> frozenset[Capability]:
    """The capabilities of a model of which it is known whether it takes images."""
    if vision:
        return VISION
    return by_name(model_id) - {Capability.IMAGE_UNDERSTANDING}


def said(entry: JsonObject, model_id: str) -> frozenset[Capability] | None:
    """The capabilities by an entry of /v1/models, or None where it does not say them.

    Said as an object `capabilities` of our own names and booleans (another llmlb), as a `task`
    or a `type`, or as `architecture.input_modalities` (llama.cpp, OpenRouter).
    """
    flags = mapping(entry.get("capabilities"))
    flagged = frozenset(c for c in Capability if flags.get(c.value) is True)
    if flagged:
        return flagged
    for field in _TASK_FIELDS:
        task = entry.get(field)
        if isinstance(task, str) and (by_task := _BY_TASK.get(task.lower())) is not None:
            return by_task
    inputs = words(mapping(entry.get("architecture")).get("input_modalities"))
    if inputs:
        return with_vision(model_id, vision="image" in inputs)
    return None


def described(model_id: str, entry: JsonObject, max_tokens: int | None) -> Model:
    """A model by what its entry says of it, else by its name."""
    capabilities = said(entry, model_id)
    if capabilities is not None:
        return Model(model_id, capabilities, max_tokens)
    return Model(model_id, by_name(model_id), max_tokens, perhaps_by_name(model_id))


def plain_model(model_id: str, entry: JsonObject) -> Model:
    """A model by its entry alone, in the fields that OpenAI-compatible servers share."""
    sizes = (count(entry.get(field)) for field in _CONTEXT_FIELDS)
    max_tokens = next((size for size in sizes if size is not None), None)
    return described(model_id, entry, max_tokens)
