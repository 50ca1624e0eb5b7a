"""What can happen to a balancer that its operators would like to see: frozen, for the feed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmlb.types import Api, EndpointId, Mode, Status

if TYPE_CHECKING:
    from collections.abc import Mapping


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
class DownloadProgress:
    """A model on its way to an endpoint: begun, further, or over; `error_message` is for people."""

    endpoint_id: EndpointId
    name: str
    task_id: str
    model: str
    status: str
    progress: float
    """From 0 to 1."""
    downloaded_bytes: int
    total_bytes: int
    error_message: str | None


@dataclass(frozen=True, slots=True)
class BenchmarkProgress:
    """A benchmark has begun, is further, or is over; `mean_tps` is what was measured so far."""

    run_id: str
    model: str
    status: str
    progress: float
    """From 0 to 1."""
    mean_tps: float | None
    error: str | None


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


@dataclass(frozen=True, slots=True)
class RequestFinished:
    """A client's request has come to its end, whatever that was; a long model name is cut."""

    id: str
    """Ours, and unique."""
    request_id: str
    """As the client was told it, who may have chosen it."""
    api: Api
    model: str
    """As the client named it."""
    endpoint_id: EndpointId | None
    """The one that was asked last."""
    endpoint_name: str | None
    outcome: str
    """`succeeded`, `failed`, `cancelled` or `refused`."""
    status: int
    error_code: str | None
    """Of ours; `endpoint_refusal` if an endpoint found fault with the request."""
    stream: bool
    waited_ms: float
    duration_ms: float
    time_to_first_token_ms: float | None
    input_tokens: int | None
    output_tokens: int | None
    tokens_per_s: float | None


@dataclass(frozen=True, slots=True)
class TpsUpdated:
    """A stream that came to its end was so fast: output tokens per second after the first."""

    endpoint_id: EndpointId
    model_id: str
    """The endpoint's own id of the model."""
    tps: float
    output_tokens: int
    duration_ms: float


@dataclass(frozen=True, slots=True)
class LoadChanged:
    """How many requests run, per endpoint, and wait, per model: of each the 100 largest numbers."""

    in_flight: Mapping[EndpointId, int]
    """Leases; an endpoint without one is left out."""
    waiting: Mapping[str, int]
    """Places in the line; a model without one is left out."""
    total_in_flight: int
    total_waiting: int


@dataclass(frozen=True, slots=True)
class StatisticsTick:
    """All that clients have asked for since the first day, and what goes on now."""

    total_requests: int
    successful_requests: int
    failed_requests: int
    """The refused ones are among them."""
    refused_requests: int
    cancelled_requests: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    total_in_flight: int
    total_waiting: int
    endpoints_online: int
    endpoints_total: int


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
    | DownloadProgress
    | BenchmarkProgress
    | StorageUnwell
    | StorageWell
    | AuditLogBroken
    | Draining
    | ServerStopping
    | RequestFinished
    | TpsUpdated
    | LoadChanged
    | StatisticsTick
)

FREQUENT = (RequestFinished, TpsUpdated)
"""They come with every request: kept apart, so that they push out none of the others."""

State = LoadChanged | StatisticsTick
"""How things are, and not what has happened: only the newest of each is worth telling."""
