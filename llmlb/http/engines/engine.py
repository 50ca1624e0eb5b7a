"""What each engine's file knows: how to recognise it, what to ask it, which of its 5xx are 400."""

from __future__ import annotations

import re
from typing import Protocol

from llmlb.http.engines.inquiry import Inquiry
from llmlb.http.engines.listing import Listing
from llmlb.types import Engine, Survey

FaultTable = tuple[tuple[int, re.Pattern[str]], ...]
"""Status and pattern of the messages by which an engine blames the request, with a 5xx."""


class EngineProfile(Protocol):
    """One engine, as seen from outside."""

    @property
    def engine(self) -> Engine: ...

    @property
    def request_faults(self) -> FaultTable: ...

    def evident(self, listing: Listing) -> bool:
        """Whether the listing alone shows that it is this engine."""
        ...

    async def survey(self, listing: Listing, inquiry: Inquiry) -> Survey | None:
        """What the endpoint tells as this engine, or None if it is another one.

        Never asks anything that loads a model or costs tokens.
        """
        ...
