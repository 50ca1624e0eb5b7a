"""What can happen to a balancer that its operators would like to see: frozen, for the feed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmlb.types import EndpointId, Mode, Status

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class EndpointRegistered:
    """There is a new endpoint."""

    endpoint_id: EndpointId
    name: str
    base_url: str
    status: Status


@dataclass(frozen=True, slots=True)
class EndpointUpdated:
    """An endpoint was edited, or found to be something else: its engine, its device."""

    endpoint_id: EndpointId
    name: str
    mode: Mode


@dataclass(frozen=True, slots=True)
class EndpointRemoved:
    """An endpoint is gone; what runs there finishes."""

    endpoint_id: EndpointId
    name: str


@dataclass(frozen=True, slots=True)
class EndpointStatusChanged:
    """Probes or requests have found an endpoint in another status; `reason` is for people."""

    endpoint_id: EndpointId
    name: str
    old_status: Status
    new_status: Status
    reason: str | None


@dataclass(frozen=True, slots=True)
class ModelsChanged:
    """The models of an endpoint came, went, or can do something else: of each the first 100."""

    endpoint_id: EndpointId
    name: str
    model_count: int
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CircuitOpened:
    """An endpoint failed so often that it gets no requests for a while."""

    endpoint_id: EndpointId
    name: str
    failures: int
    """In a row."""
    for_s: float


@dataclass(frozen=True, slots=True)
class CircuitHalfOpened:
    """An endpoint whose circuit was open gets a request on trial."""

    endpoint_id: EndpointId
    name: str


@dataclass(frozen=True, slots=True)
class CircuitClosed:
    """An endpoint whose circuit was open serves again."""

    endpoint_id: EndpointId
    name: str


@dataclass(frozen=True, slots=True)
class EndpointCooling:
    """An endpoint asked to be left alone for a while; `reason` is for people."""

    endpoint_id: EndpointId
    name: str
    reason: str
    for_s: float


@dataclass(frozen=True, slots=True)
class StorageUnwell:
    """The database refuses or does not answer; `reason` is for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class StorageWell:
    """The database takes writes again."""


@dataclass(frozen=True, slots=True)
class AuditLogBroken:
    """The audit log is not as it was written; `reason` is for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class Draining:
    """Nothing new is admitted; what runs finishes."""


@dataclass(frozen=True, slots=True)
class ServerStopping:
    """The balancer stops: the last event of a stream."""


Event = (
    EndpointRegistered
    | EndpointUpdated
    | EndpointRemoved
    | EndpointStatusChanged
    | ModelsChanged
    | CircuitOpened
    | CircuitHalfOpened
    | CircuitClosed
    | EndpointCooling
    | StorageUnwell
    | StorageWell
    | AuditLogBroken
    | Draining
    | ServerStopping
)


@dataclass(frozen=True, slots=True)
class Told:
    """An event with its place among all events since the start, counted from 1, and its time."""

    seq: int
    at: datetime
    event: Event
