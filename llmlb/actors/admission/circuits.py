"""Which endpoints fail what they are given, and when one of them may be tried again.

The rules, per endpoint:

- closed → open at the third failure in a row. A success ends the row, but only if its lease was
  granted after the failure: a long stream that ends well says nothing of who comes next.
- open → half-open after 1 s, doubled at each failure of a lease that was granted since the circuit
  opened, up to 60 s, all with jitter. One lease is let through then, the canary.
- → closed at a success of a lease granted since it opened. That its answer has begun is enough to
  close it, for a stream may last; but then the next failure opens it again.
- A failure that turns out to be the request's own doing is taken back.

Leases are known by their serials, which rise.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from llmlb.types import EndpointId

FAILURES_TO_OPEN = 3

FIRST_PAUSE_S = 1.0

LONGEST_PAUSE_S = 60.0

JITTER = 0.2
"""A pause differs from its nominal length by up to this fraction, and is never over the longest."""

MOST_RETRACTABLE = 8
"""So many failures of an endpoint can be taken back; older ones stand."""


class CircuitState(StrEnum):
    """Whether an endpoint is given requests."""

    CLOSED = "closed"
    """Yes."""
    OPEN = "open"
    """Not while another endpoint of the model is."""
    HALF_OPEN = "half_open"
    """One, to see whether it is well again."""


@dataclass(frozen=True, slots=True)
class CircuitChange:
    """One circuit has opened (again), has let its canary through, or has closed."""

    endpoint_id: EndpointId
    state: CircuitState
    failures: int
    """In a row, until now."""
    pause_s: float = 0.0
    """Of one that opened: until it lets a canary through."""


class _Failure(NamedTuple):
    serial: int
    newest: int
    """The last lease that had been granted then, on any endpoint."""


@dataclass(slots=True)
class _Circuit:
    """One endpoint that has failed lately."""

    failures: int = 0
    """In a row."""
    row: deque[_Failure] = field(default_factory=lambda: deque(maxlen=MOST_RETRACTABLE))
    """The newest of them."""
    pauses: int = 0
    """Since it was well: how often it opened."""
    open: bool = False
    until_s: float = 0.0
    """When an open one lets a canary through."""
    since: int = 0
    """The last lease that had been granted when it opened; only later ones are news."""
    cause: int = 0
    """The lease whose failure opened it."""
    canary: int | None = None

    def may_send_canary(self, now_s: float) -> bool:
        return self.canary is None and now_s >= self.until_s

    def forgive(self, serial: int) -> None:
        """End the row as far as it was over when lease *serial* was granted."""
        later = [failure for failure in self.row if failure.newest >= serial]
        if len(later) < len(self.row):
            self.failures = len(later)
            self.row = deque(later, maxlen=MOST_RETRACTABLE)


class Circuits:
    """Owns the circuits of the endpoints that have failed since they were last well.

    Pure: no I/O and no clock; *rng* is the jitter's. *on_change* is told of each transition as it
    happens and must not block.
    """

    def __init__(self, rng: random.Random, on_change: Callable[[CircuitChange], None]) -> None:
        self._rng, self._on_change = rng, on_change
        self._circuits: dict[EndpointId, _Circuit] = {}
        self._newest = 0

    # -- what is known

    def __len__(self) -> int:
        """How many have failed since they were last well: all others are admitted."""
        return len(self._circuits)

    def __iter__(self) -> Iterator[EndpointId]:
        """Their ids."""
        return iter(self._circuits)

    def admits(self, endpoint_id: EndpointId, now_s: float) -> bool:
        """Whether a request may go there: it is closed, or wants its canary."""
        circuit = self._circuits.get(endpoint_id)
        return circuit is None or not circuit.open or circuit.may_send_canary(now_s)

    def state(self, endpoint_id: EndpointId, now_s: float) -> CircuitState:
        circuit = self._circuits.get(endpoint_id)
        if circuit is None or not circuit.open:
            return CircuitState.CLOSED
        if circuit.canary is not None or now_s >= circuit.until_s:
            return CircuitState.HALF_OPEN
        return CircuitState.OPEN

    def failures(self, endpoint_id: EndpointId) -> int:
        """How often it has failed in a row."""
        circuit = self._circuits.get(endpoint_id)
        return 0 if circuit is None else circuit.failures

    def opens_until_s(self, endpoint_id: EndpointId) -> float:
        """When one that is open lets its next canary through, by the clock; else 0."""
        circuit = self._circuits.get(endpoint_id)
        return circuit.until_s if circuit is not None and circuit.open else 0.0

    # -- what happens

    def granted(self, serial: int, endpoint_id: EndpointId, now_s: float) -> None:
        """Lease *serial* is for that endpoint; if its circuit waits for a canary, it is that."""
        self._newest = serial
        circuit = self._circuits.get(endpoint_id)
        if circuit is not None and circuit.open and circuit.may_send_canary(now_s):
            circuit.canary = serial
            self._tell(endpoint_id, CircuitState.HALF_OPEN, circuit)

    def is_open(self, endpoint_id: EndpointId) -> bool:
        """Whether a lease that is granted now can close it by the beginning of its answer."""
        circuit = self._circuits.get(endpoint_id)
        return circuit is not None and circuit.open

    def begun(self, serial: int, endpoint_id: EndpointId) -> bool:
        """The first piece of the answer to *serial* is good. Returns whether that closed it."""
        circuit = self._circuits.get(endpoint_id)
        if circuit is None or not circuit.open or serial <= circuit.since:
            return False
        circuit.failures = FAILURES_TO_OPEN - 1
        circuit.row.clear()
        self._close(endpoint_id, circuit)
        return True

    def succeeded(self, serial: int, endpoint_id: EndpointId) -> None:
        """*serial* was answered well, to the end."""
        circuit = self._circuits.get(endpoint_id)
        if circuit is None or serial <= circuit.since:
            return
        circuit.forgive(serial)
        if not circuit.row:  # nor is anything left of what came before the row
            del self._circuits[endpoint_id]
            circuit.failures = 0
        if circuit.open:
            self._close(endpoint_id, circuit)

    def failed(self, serial: int, endpoint_id: EndpointId, now_s: float) -> float | None:
        """The endpoint failed *serial*. Returns the pause in seconds, if its circuit opened."""
        circuit = self._circuits.setdefault(endpoint_id, _Circuit())
        if serial <= circuit.since:
            return None  # of the trouble that opened it, and no news
        circuit.failures += 1
        circuit.row.append(_Failure(serial, self._newest))
        if circuit.failures < FAILURES_TO_OPEN:
            return None
        pause_s = self._pause_s(circuit.pauses)
        circuit.open, circuit.canary = True, None
        circuit.pauses += 1
        circuit.until_s = now_s + pause_s
        circuit.since, circuit.cause = self._newest, serial
        self._tell(endpoint_id, CircuitState.OPEN, circuit, pause_s)
        return pause_s

    def ended(self, serial: int, endpoint_id: EndpointId) -> None:
        """*serial* is over, and how it ended says nothing: another one may be the canary."""
        circuit = self._circuits.get(endpoint_id)
        if circuit is not None and circuit.canary == serial:
            circuit.canary = None

    def taken_back(self, serial: int, endpoint_id: EndpointId) -> None:
        """That *serial* failed was the request's own doing."""
        circuit = self._circuits.get(endpoint_id)
        if circuit is None or all(failure.serial != serial for failure in circuit.row):
            return
        kept = [failure for failure in circuit.row if failure.serial != serial]
        circuit.row = deque(kept, maxlen=MOST_RETRACTABLE)
        circuit.failures -= 1
        if circuit.open and circuit.failures < FAILURES_TO_OPEN:
            circuit.pauses, circuit.since = max(0, circuit.pauses - 1), 0
            self._close(endpoint_id, circuit)
        elif circuit.open and circuit.cause == serial:
            circuit.pauses, circuit.until_s = max(0, circuit.pauses - 1), 0.0

    def came_back(self, endpoint_id: EndpointId) -> None:
        """It was offline and is not any more: an open circuit lets a canary through at once."""
        circuit = self._circuits.get(endpoint_id)
        if circuit is not None and circuit.open:
            circuit.until_s, circuit.pauses = 0.0, 0
            circuit.since, circuit.canary = self._newest, None

    def retain(self, known: Container[EndpointId]) -> None:
        """Forget the endpoints that are gone."""
        for endpoint_id in [i for i in self._circuits if i not in known]:
            del self._circuits[endpoint_id]

    def _close(self, endpoint_id: EndpointId, circuit: _Circuit) -> None:
        circuit.open, circuit.canary = False, None
        self._tell(endpoint_id, CircuitState.CLOSED, circuit)

    def _pause_s(self, pauses: int) -> float:
        nominal_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(pauses, 16))
        return min(LONGEST_PAUSE_S, nominal_s * self._rng.uniform(1 - JITTER, 1 + JITTER))

    def _tell(
        self, endpoint_id: EndpointId, state: CircuitState, circuit: _Circuit, pause_s: float = 0.0
    ) -> None:
        self._on_change(CircuitChange(endpoint_id, state, circuit.failures, pause_s))
