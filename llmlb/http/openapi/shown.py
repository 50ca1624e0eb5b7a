"""The shapes of what the balancer itself answers; what endpoints answer is theirs."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from llmlb.actors.admission import CircuitState
from llmlb.types import Api, Capability, DeviceType, Engine, Mode, Status


def _may_grow(schema: dict[str, Any]) -> None:
    """Clients must not take a later version's new field for an error."""
    schema.pop("additionalProperties", None)


class Shown(BaseModel):
    """Base of all answers. Nothing here makes one: tests hold real answers against these."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra=_may_grow,
    )


class GpuShown(Shown):
    """One GPU; memory is null where the endpoint does not tell."""

    name: str
    total_memory_bytes: int | None
    used_memory_bytes: int | None


class DeviceShown(Shown):
    """What an endpoint computes on."""

    device_type: DeviceType
    gpu_devices: list[GpuShown]


class CircuitShown(Shown):
    """How an endpoint took its last requests, whatever its probes say."""

    state: CircuitState
    """`open`: it gets no request while another one serves; `half_open`: it gets one, as a trial."""
    failures_in_a_row: int
    """Faults of the endpoint's own; no refused request, no client that left."""
    opens_in_secs: float
    """Until a request is let through; 0 unless `open`."""
    cooling_secs: float
    """For so long it gets no request at all, as its `Retry-After` asked; 0: it is not limited."""


class EndpointShown(Shown):
    """One endpoint: all but its secrets."""

    id: str
    name: str
    base_url: str
    status: Status
    """What the last probes said."""
    mode: Mode
    """What the operator wants."""
    engine: Engine | None
    """The software that runs there, as detected."""
    health_check_interval_secs: float
    inference_timeout_secs: float
    latency_ms: float | None
    """Moving average of the response time; null: not measured, or offline."""
    last_seen: datetime | None
    last_error: str | None
    """Why it is not online, for people."""
    error_count: int
    """Probes that failed since the last that did not."""
    registered_at: datetime
    notes: str | None
    native_apis: list[Api]
    """Routes that not every engine has, as found at the last sync."""
    device_info: DeviceShown | None
    device_note: str | None
    """Why there is no `device_info`."""
    has_api_key: bool
    extra_header_names: list[str]
    tls_verify: bool
    """False: whoever answers at its address is taken for it."""
    has_ca_certificate: bool
    """Its certificate must be signed by authorities that were given for it."""
    model_aliases: dict[str, str]
    model_capabilities: dict[str, list[Capability]]
    """As its operator overruled them."""
    declared: bool
    """It stands in llmlb.toml, and is edited there."""
    inflight: int
    """Requests that run there now."""
    drained: bool
    """Nothing runs there, and nothing more will."""
    circuit: CircuitShown
    """How it took its last requests."""
    max_concurrency: int
    """Requests at once."""
    max_concurrency_assumed: bool
    """Nobody has said how many requests it takes at once."""
    model_count: int
    total_requests: int
    successful_requests: int
    failed_requests: int
    cancelled_requests: int
    total_input_tokens: int
    total_output_tokens: int
    total_tokens: int


class ListedModelShown(Shown):
    """One model as one endpoint lists it."""

    model_id: str
    capabilities: list[Capability]
    max_tokens: int | None
    """Context length."""


class EndpointWithModelsShown(EndpointShown):
    """One endpoint with its models."""

    models: list[ListedModelShown]


class EndpointListShown(Shown):
    """One page of the endpoints."""

    endpoints: list[EndpointShown]
    total: int
    """On all pages."""
    page: int
    per_page: int


class EndpointModelsShown(Shown):
    """The models of one endpoint, in its own order."""

    endpoint_id: str
    models: list[ListedModelShown]


class EndpointInfoShown(Shown):
    """What a probe found."""

    model_count: int


class ProbeSucceededShown(Shown):
    """The endpoint serves."""

    success: Literal[True]
    latency_ms: float
    """Of the probe."""
    models_found: int
    endpoint_info: EndpointInfoShown


class ProbeFailedShown(Shown):
    """The endpoint does not serve."""

    success: Literal[False]
    error: str
    """Why, for people."""


class SyncShown(Shown):
    """The models of an endpoint, read anew."""

    synced_models: list[str]
    added: int
    removed: int
    updated: int


class ModelShown(Shown):
    """A name that clients ask for."""

    id: str
    object: Literal["model"]
    created: int
    """Seconds since 1970."""
    owned_by: str
    ready: bool
    """A request could be sent to it now."""
    max_tokens: int | None
    """The shortest context length of its endpoints."""
    capabilities: dict[Capability, bool]
    endpoint_ids: list[str]
    """Where it is online."""
    aliases: list[str]
    """Other names that reach it."""
    alias_of: list[str]
    """What it stands for; empty for a name that an endpoint lists itself."""


class ModelListShown(Shown):
    """The models that a request could be sent to now."""

    object: Literal["list"]
    data: list[ModelShown]


class HealthShown(Shown):
    """The process serves."""

    status: Literal["ok"]


class ReadyShown(Shown):
    """Requests are welcome."""

    status: Literal["ready"]
