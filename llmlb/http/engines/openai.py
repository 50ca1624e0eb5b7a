"""Anything else that speaks the OpenAI API: only what the listing says."""

from __future__ import annotations

from llmlb.http.engines.capabilities import plain_model
from llmlb.http.engines.engine import FaultTable
from llmlb.http.engines.inquiry import Inquiry
from llmlb.http.engines.listing import Listing
from llmlb.types import Engine, Survey


class OpenAICompatible:
    """The engine of an endpoint that shows no sign of any other."""

    engine = Engine.OPENAI

    request_faults: FaultTable = ()

    def evident(self, listing: Listing) -> bool:  # noqa: ARG002 - never evident, only left over
        return False

    async def survey(
        self,
        listing: Listing,
        inquiry: Inquiry,  # noqa: ARG002 - there is no route to rely on
    ) -> Survey:
        return plain_survey(listing)


def plain_survey(listing: Listing) -> Survey:
    """What the listing alone tells."""
    models = tuple(plain_model(m, entry) for m, entry in listing.models.items())
    return Survey(Engine.OPENAI, models)
