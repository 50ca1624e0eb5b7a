"""What is being written of the endpoints, and what waits for its turn."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from llmlb.actors.pauses import Pauses
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
    _not_before_s: float = -math.inf
    """Nor before this monotonic second, however many answers come: each try may wait for a lock."""
    _pauses: Pauses = field(default_factory=Pauses)

    @property
    def busy(self) -> bool:
        return self.current is not None or bool(self.saving)

    def observed(self, endpoint_id: EndpointId, now_s: float) -> None:
        """Something of this endpoint is new."""
        self.unsaved.add(endpoint_id)
        if now_s >= self._not_before_s:
            self.put_off = False

    def save_refused(self, still_there: Iterable[EndpointId], now_s: float) -> bool:
        """What was being saved was not. Whether this is news."""
        first = not self._pauses.failing
        self.unsaved.update(still_there)
        self.put_off = True  # a full disk is not hammered
        self._not_before_s = now_s + self._pauses.after_failure()
        return first

    def worked(self) -> None:
        """The database takes something."""
        self.put_off, self._not_before_s = False, -math.inf
        self._pauses.after_success()
