"""What is being written of the endpoints, and what waits for its turn."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from llmlb.actors.registry.messages import Mutation
from llmlb.types import EndpointId


@dataclass(slots=True)
class Writes:
    """At most one write is under way, so the database sees changes in their order."""

    waiting: deque[Mutation] = field(default_factory=deque)
    current: Mutation | None = None
    saving: frozenset[EndpointId] = frozenset()
    unsaved: set[EndpointId] = field(default_factory=set)
    """Endpoints whose observed part (status, models, …) is newer than the database."""
    put_off: bool = False
    """Saving them has failed: tried again with the next probe's answer, not before."""

    @property
    def busy(self) -> bool:
        return self.current is not None or bool(self.saving)
