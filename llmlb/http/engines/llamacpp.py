"""llama.cpp: names itself in every answer, and says its slots in /props."""

from __future__ import annotations

import re

from llmlb.http.engines.capabilities import described
from llmlb.http.engines.engine import FaultTable
from llmlb.http.engines.foreign import JsonObject, count, mapping
from llmlb.http.engines.inquiry import Inquiry
from llmlb.http.engines.listing import Listing
from llmlb.types import Engine, Model, Survey

MOST_SLOTS = 10_000
"""As many as an operator may set."""


class LlamaCpp:
    """One process serves one model in `total_slots` slots, each with its part of the context."""

    engine = Engine.LLAMACPP

    request_faults: FaultTable = (
        # Recorded from a real server, build of October 2026. Not here, on purpose: 501 "This
        # server does not support embeddings", for another endpoint of the model may.
        (500, re.compile(r"Failed to parse (messages|tools): ")),
        (500, re.compile(r"(image|audio|video) input is not supported\b")),
        (500, re.compile(r"Invalid base64 value")),
        (500, re.compile(r"error: cannot make GET request")),  # an image URL that is not there
        (500, re.compile(r"Unknown reasoning format: ")),
        (500, re.compile(r"'\w+' is required")),
    )

    def evident(self, listing: Listing) -> bool:
        return "llama.cpp" in listing.server or listing.owned_by("llamacpp")

    async def survey(self, listing: Listing, inquiry: Inquiry) -> Survey | None:
        if not self.evident(listing):
            return None
        props = await inquiry.ask("GET", "/props")
        return Survey(
            self.engine,
            tuple(_model(model_id, entry) for model_id, entry in listing.models.items()),
            _slots(props.get("total_slots")),
        )


def _slots(said: object) -> int | None:
    """Requests at once; a number that no server has is no answer."""
    slots = count(said)
    return slots if slots is not None and slots <= MOST_SLOTS else None


def _model(model_id: str, entry: JsonObject) -> Model:
    meta = mapping(entry.get("meta"))
    # n_ctx is the context of one slot, which is what one request gets.
    max_tokens = count(meta.get("n_ctx")) or count(meta.get("n_ctx_train"))
    return described(model_id, entry, max_tokens)
