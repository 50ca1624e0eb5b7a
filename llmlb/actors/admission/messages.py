"""What the admission controller can be told and asked."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from msgspec import Struct

from llmlb.accounting import Outcome, Verdict
from llmlb.actors.admission.results import WaitResult
from llmlb.actors.mailbox import Ask
from llmlb.catalog import Catalog
from llmlb.records import View
from llmlb.routing import AdmissionDecision
from llmlb.types import Api, EndpointId

Decide = Callable[[int, int], AdmissionDecision]
"""Judges one more waiter by (waiters, limit); see `routing.admission_control`."""


@dataclass(slots=True, eq=False)
class WaitForReady(Ask[WaitResult]):
    """Answered with a lease as soon as an endpoint of *model* has room."""

    model: str
    api: Api
    limit: int
    excluding: AbstractSet[EndpointId] = frozenset()
    decide: Decide | None = None
    arrival: int | None = None
    """Place in the order of arrival, for one that asks again; None for a new one."""
    only: EndpointId | None = None
    """The one endpoint that will do; for one that asks for it, the others do not exist."""
    tried: AbstractSet[EndpointId] = frozenset()
    """Endpoints on which the request has failed: not one of these either."""
    patient: bool = True
    """Without it: a lease now, or Timeout."""
    place: int = -1
    joined_at_s: float = 0.0
    not_before_s: float = 0.0
    on_arrival: View | None = None

    @property
    def wanted(self) -> bool:
        return self.reply.wanted

    @property
    def choosy(self) -> bool:
        """Not every endpoint will do, so it may wait where those behind it need not."""
        return self.only is not None or bool(self.excluding) or bool(self.tried)


class Release(Struct, frozen=True):
    serial: int
    outcome: Outcome
    verdict: Verdict


class Begun(Struct, frozen=True):
    serial: int


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What *serial* did to the circuit of its endpoint is undone."""

    serial: int
    endpoint_id: EndpointId


@dataclass(frozen=True, slots=True)
class CatalogChanged:
    catalog: Catalog


@dataclass(frozen=True, slots=True)
class DelayOver:
    model: str


@dataclass(frozen=True, slots=True)
class PauseOver:
    endpoint_id: EndpointId


@dataclass(frozen=True, slots=True)
class Close:
    """Answer the line, and admit only what asks again: that was admitted before."""


@dataclass(slots=True, eq=False)
class WaitUntilIdle(Ask[None]):
    """Answered once no lease is out."""


Message = (
    WaitForReady
    | Release
    | Begun
    | TakenBack
    | CatalogChanged
    | DelayOver
    | PauseOver
    | Close
    | WaitUntilIdle
)
