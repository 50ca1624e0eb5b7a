"""vLLM: owns its models by name, and lists their length."""

from __future__ import annotations

from llmlb.http.engines.capabilities import plain_model
from llmlb.http.engines.engine import FaultTable
from llmlb.http.engines.foreign import count
from llmlb.http.engines.inquiry import Inquiry
from llmlb.http.engines.listing import Listing
from llmlb.types import Engine, Survey


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

    async def survey(
        self,
        listing: Listing,
        inquiry: Inquiry,  # noqa: ARG002 - the listing has it all
    ) -> Survey | None:
        if not self.evident(listing):
            return None
        models = tuple(plain_model(m, entry) for m, entry in listing.models.items())
        return Survey(self.engine, models)
