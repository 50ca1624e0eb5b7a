"""xLLM: gives its version in /api/system, and a model's context in /api/models/{id}/info."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

from llmlb.http.engines.capabilities import plain_model
from llmlb.http.engines.details import for_each_model
from llmlb.http.engines.engine import FaultTable
from llmlb.http.engines.foreign import count
from llmlb.http.engines.inquiry import Inquiry
from llmlb.http.engines.listing import Listing
from llmlb.types import Engine, Model, Survey


class Xllm:
    """Also the only engine that tells what it computes on."""

    engine = Engine.XLLM

    request_faults: FaultTable = ()

    def evident(self, listing: Listing) -> bool:
        return listing.owned_by("xllm")

    async def survey(self, listing: Listing, inquiry: Inquiry) -> Survey | None:
        system = await inquiry.ask("GET", "/api/system")
        if "xllm_version" not in system:
            return None
        models = {m: plain_model(m, entry) for m, entry in listing.models.items()}

        async def look(model: Model) -> None:
            info = await inquiry.ask("GET", f"/api/models/{quote(model.id, safe='')}/info")
            max_tokens = count(info.get("context_length")) or count(info.get("n_ctx"))
            models[model.id] = replace(model, max_tokens=max_tokens)

        unknown = [model for model in models.values() if model.max_tokens is None]
        await for_each_model(unknown, look, within_s=2 * inquiry.timeout_s)
        return Survey(self.engine, tuple(models.values()))
