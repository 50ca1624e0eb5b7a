"""Which leases are out, and whose turn it is: in-flight is a set, never a counter."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from llmlb.changes import Changes
from llmlb.types import Endpoint, EndpointId


class Slots:
    """Owns the live leases by endpoint. A lease cannot be given back twice."""

    def __init__(self) -> None:
        self._endpoint_of: dict[int, EndpointId] = {}
        self._in_flight: dict[EndpointId, int] = {}
        self._last_turn: dict[EndpointId, int] = {}
        # Derived from _endpoint_of and only ever changed together with it.
        self.in_flight: Mapping[EndpointId, int] = MappingProxyType(self._in_flight)
        self.last_turn: Mapping[EndpointId, int] = MappingProxyType(self._last_turn)
        self.changes = Changes[EndpointId]()

    def has_room(self, endpoint: Endpoint) -> bool:
        return self._in_flight.get(endpoint.id, 0) < endpoint.capacity

    def take(self, serial: int, endpoint_id: EndpointId) -> None:
        """Lease *serial* now runs there. Serials rise, so they are turns as well."""
        self._endpoint_of[serial] = endpoint_id
        self._in_flight[endpoint_id] = self._in_flight.get(endpoint_id, 0) + 1
        self._last_turn[endpoint_id] = serial
        self.changes.note(endpoint_id)

    def give_back(self, serial: int) -> EndpointId | None:
        """Where lease *serial* ran; None if it is not out (any more)."""
        endpoint_id = self._endpoint_of.pop(serial, None)
        if endpoint_id is not None:
            left = self._in_flight[endpoint_id] - 1
            if left:
                self._in_flight[endpoint_id] = left
            else:
                del self._in_flight[endpoint_id]
            self.changes.note(endpoint_id)
        return endpoint_id

    def retain(self, known: Mapping[EndpointId, Endpoint]) -> None:
        """Forget the turns of endpoints that are gone."""
        for endpoint_id in [i for i in self._last_turn if i not in known]:
            del self._last_turn[endpoint_id]
            self.changes.note(endpoint_id)
