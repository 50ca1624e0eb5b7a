"""Which endpoints may be given a request, going by how they took the last ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Container, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from msgspec import Struct

from llmlb.accounting import Outcome, Verdict
from llmlb.actors.admission.circuits import CircuitChange, Circuits, CircuitState
from llmlb.actors.admission.cooling import Cooling
from llmlb.routing import eligible, hopeful
from llmlb.types import Endpoint, EndpointId, Status


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """How one endpoint took its last requests, at one moment. As it is: well."""

    state: CircuitState = CircuitState.CLOSED
    failures: int = 0
    """Requests that it failed in a row."""
    opens_s: float = 0.0
    """Of an open circuit: seconds until it lets a request through."""
    cools_s: float = 0.0
    """Seconds for which it has asked to be given nothing."""


class Choice(Struct, frozen=True):
    """What is left of the endpoints of a model, for one request."""

    endpoints: tuple[Endpoint, ...]
    """It may be given a lease on one of these, as soon as there is room."""
    hopeful: bool
    """It is worth waiting, for room or for an endpoint that may turn out to serve."""
    limited_s: float | None
    """If every endpoint that serves has asked for a pause: when the first of these is over."""
    failing_open: bool
    """No circuit is closed, so they are all on offer."""


class Health:
    """Composes circuits and cooling: both tell where a request had better not go."""

    def __init__(self, rng: random.Random, on_circuit: Callable[[CircuitChange], None]) -> None:
        self.circuits, self.cooling = Circuits(rng, on_circuit), Cooling()

    @property
    def perfect(self) -> bool:
        """Nothing is known that speaks against any endpoint."""
        return not (len(self.circuits) or len(self.cooling))

    @property
    def _troubled(self) -> set[EndpointId]:
        """All of whom something is known: few, however large the fleet is."""
        return {*self.circuits, *self.cooling}

    def choice(
        self, able: Iterable[Endpoint], tried: AbstractSet[EndpointId], now_s: float
    ) -> Choice:
        """What a request may choose from that has failed on *tried*, of all *able* to serve it.

        An endpoint that cools is never on offer. One with an open circuit is only if no other one
        that is able is better off, and then all of them are: each may be well again, and while
        none is known to be, to hold back would only make sure that the request fails. A request
        that has failed on a healthy endpoint is not sent to an unhealthy one.
        """
        able = tuple(able)
        serving = eligible(able)
        warm = [e for e in serving if not self.cooling.left_s(e.id, now_s)]
        admitted = [e for e in warm if self.circuits.admits(e.id, now_s)]
        left = tuple(e for e in admitted or warm if e.id not in tried)
        waking = (e for e in able if e.initialising and e.id not in tried)
        limited = bool(serving) and not warm
        return Choice(
            left,
            hopeful=bool(left) or hopeful(waking),
            limited_s=self.cooling.shortest_s((e.id for e in serving), now_s) if limited else None,
            failing_open=not admitted,
        )

    def over(
        self,
        serial: int,
        endpoint_id: EndpointId,
        outcome: Outcome,
        verdict: Verdict,
        now_s: float,
    ) -> tuple[float, ...]:
        """Lease *serial* is over. Returns the pauses that begin for its endpoint, in seconds."""
        pauses = []
        if outcome is Outcome.SUCCEEDED:
            self.circuits.succeeded(serial, endpoint_id)
        elif verdict.ill:
            pauses.append(self.circuits.failed(serial, endpoint_id, now_s))
        else:
            self.circuits.ended(serial, endpoint_id)
        if verdict.cools_s > 0:
            pauses.append(self.cooling.cool(endpoint_id, verdict.cools_s, now_s))
        return tuple(pause_s for pause_s in pauses if pause_s is not None)

    def take_in(
        self,
        before: Mapping[EndpointId, Endpoint],
        now: Mapping[EndpointId, Endpoint],
        now_s: float,
    ) -> None:
        """The endpoints have changed.

        One that is another server from now on begins well; so does none that was offline, but its
        open circuit is tried at once: most likely it has been started anew.
        """
        same = {i for i in self._troubled if _still_the_same(before.get(i), now.get(i))}
        self.circuits.retain(same)
        self.cooling.retain(same, now_s)
        for endpoint_id in same:
            was, is_now = before[endpoint_id].status, now[endpoint_id].status
            if was is Status.OFFLINE and is_now is Status.ONLINE:
                self.circuits.came_back(endpoint_id)

    def seen(self, known: Container[EndpointId], now_s: float) -> dict[EndpointId, EndpointHealth]:
        """How those of *known* are that are not simply well."""
        found = {
            endpoint_id: EndpointHealth(
                self.circuits.state(endpoint_id, now_s),
                self.circuits.failures(endpoint_id),
                max(0.0, self.circuits.opens_until_s(endpoint_id) - now_s),
                self.cooling.left_s(endpoint_id, now_s),
            )
            for endpoint_id in self._troubled
            if endpoint_id in known
        }
        return {i: health for i, health in found.items() if health != EndpointHealth()}


def _still_the_same(before: Endpoint | None, now: Endpoint | None) -> bool:
    return before is not None and now is not None and now.is_same_server_as(before)
