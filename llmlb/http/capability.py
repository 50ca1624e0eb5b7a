"""Which endpoints of a model surely cannot do what a request asks of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llmlb.errors import UnsupportedCapability
from llmlb.types import Capability, Endpoint, EndpointId

_WORDS = {
    Capability.CHAT_COMPLETION: "chat",
    Capability.EMBEDDINGS: "embeddings",
    Capability.IMAGE_GENERATION: "image generation",
    Capability.AUDIO_TRANSCRIPTION: "audio transcription",
    Capability.AUDIO_SPEECH: "speech",
    Capability.IMAGE_UNDERSTANDING: "image understanding",
}


def _surely_lacks(endpoint: Endpoint, model: str, capability: Capability) -> bool:
    """Whether *endpoint* has *model* for certain without *capability*.

    Uncertain is what a model can do `perhaps`, and all of an endpoint whose models were not read
    since the start: they may have changed meanwhile.
    """
    if not endpoint.synced:
        return False
    return any(
        m.id == model and capability not in m.capabilities and capability not in m.perhaps
        for m in endpoint.models
    )


def endpoints_without(
    capability: Capability,
    model: str,
    offering: Iterable[Endpoint],
    own_ids: Mapping[EndpointId, str],
) -> frozenset[EndpointId]:
    """Of the endpoints that offer *model*, those to pass over.

    *own_ids* says what each of them calls it (`Catalog.reach`).

    Raises UnsupportedCapability if that is every one of them; a model that nobody offers is
    somebody else's error.
    """
    all_of_them = tuple(offering)
    without = frozenset(e.id for e in all_of_them if _surely_lacks(e, own_ids[e.id], capability))
    if without and len(without) == len(all_of_them):
        raise UnsupportedCapability(
            f"The model '{model[:200]}' does not support {_WORDS[capability]}.", param="model"
        )
    return without
