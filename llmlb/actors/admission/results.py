"""What `wait_for_ready` can answer."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct

from llmlb.accounting import Lease
from llmlb.records import NOTHING_SEEN, View


class Ready(Struct, frozen=True):
    """Go: the caller now holds *lease* and must release it."""

    lease: Lease
    waited_s: float = 0.0
    """Time in line; 0 if a slot was free."""
    view: View = NOTHING_SEEN
    """What there was to choose from."""
    on_arrival: View | None = None
    """The same as it was when the request had to go into the line."""


@dataclass(frozen=True, slots=True)
class Timeout:
    """No slot came free in time."""


@dataclass(frozen=True, slots=True)
class CapacityExceeded:
    """The line is full, or admission control rejects."""

    waiters: int
    retry_after_s: int


@dataclass(frozen=True, slots=True)
class ModelUnknown:
    """No endpoint lists the model."""


@dataclass(frozen=True, slots=True)
class NoneCapable:
    """The model is known, but none of its endpoints is online or may come online now."""

    retry_after_s: int


@dataclass(frozen=True, slots=True)
class RateLimited:
    """Every endpoint that serves the model has asked to be given nothing for a while."""

    retry_after_s: int
    """Until the first of them may be asked again."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The balancer is shutting down."""


Refusal = Timeout | CapacityExceeded | ModelUnknown | NoneCapable | RateLimited | Closed

WaitResult = Ready | Refusal
