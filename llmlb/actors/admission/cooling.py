"""Which endpoints have asked to be left alone for a while, by `Retry-After`."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from llmlb.types import EndpointId

LONGEST_S = 300.0
"""An endpoint that asks for more is asked again after this time all the same."""


class Cooling:
    """Owns, per endpoint that cools, the moment when it may be given a lease again."""

    def __init__(self) -> None:
        self._until_s: dict[EndpointId, float] = {}

    def __len__(self) -> int:
        """How many may still cool: none of the others does."""
        return len(self._until_s)

    def __iter__(self) -> Iterator[EndpointId]:
        """Their ids."""
        return iter(self._until_s)

    def cool(self, endpoint_id: EndpointId, for_s: float, now_s: float) -> float:
        """Leave it alone *for_s* from now. Returns for how long that will be, in seconds.

        It never shortens what was asked before.
        """
        for_s = min(for_s, LONGEST_S)
        self._until_s[endpoint_id] = max(self._until_s.get(endpoint_id, 0.0), now_s + for_s)
        return for_s

    def left_s(self, endpoint_id: EndpointId, now_s: float) -> float:
        """For how long it still cools; 0: it does not."""
        return max(0.0, self._until_s.get(endpoint_id, 0.0) - now_s)

    def shortest_s(self, endpoints: Iterable[EndpointId], now_s: float) -> float:
        """When the first of *endpoints* has cooled, in seconds from now."""
        return min((self.left_s(endpoint_id, now_s) for endpoint_id in endpoints), default=0.0)

    def retain(self, known: Container[EndpointId], now_s: float) -> None:
        """Forget those that have cooled, and those that are gone."""
        self._until_s = {
            endpoint_id: until_s
            for endpoint_id, until_s in self._until_s.items()
            if endpoint_id in known and until_s > now_s
        }
