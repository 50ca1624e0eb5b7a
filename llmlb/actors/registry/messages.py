"""What the endpoint registry can be told and asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from structlog.contextvars import get_contextvars

from llmlb.actors.mailbox import Ask
from llmlb.catalog import Catalog
from llmlb.errors import LbError
from llmlb.types import DeviceReport, Endpoint, EndpointId, Survey

Change = Callable[[Endpoint], Endpoint]
"""A pure edit of one endpoint, applied by its owner."""


@dataclass(slots=True, eq=False)
class Register(Ask[Endpoint]):
    endpoint: Endpoint
    logged: Mapping[str, Any] = field(default_factory=get_contextvars)
    """What log entries about it have in common with those of whoever asks: the request's id."""


@dataclass(slots=True, eq=False)
class Update(Ask[Endpoint]):
    endpoint_id: EndpointId
    change: Change
    logged: Mapping[str, Any] = field(default_factory=get_contextvars)


@dataclass(slots=True, eq=False)
class Remove(Ask[None]):
    endpoint_id: EndpointId
    logged: Mapping[str, Any] = field(default_factory=get_contextvars)


@dataclass(slots=True, eq=False)
class Settle(Ask[Catalog]):
    """Answered once everything told before has been taken in."""


@dataclass(frozen=True, slots=True)
class Probed:
    """One probe's answer; *failure* is the reason why it failed, or None."""

    endpoint: Endpoint
    failure: str | None


@dataclass(frozen=True, slots=True)
class Synced:
    endpoint: Endpoint
    survey: Survey


@dataclass(frozen=True, slots=True)
class Described:
    endpoint: Endpoint
    device: DeviceReport


@dataclass(frozen=True, slots=True)
class Loaded:
    """These models are in memory now; None: it does not tell."""

    endpoint: Endpoint
    models: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Failed:
    """A request showed that the endpoint cannot serve, whatever its probes say."""

    endpoint: Endpoint
    reason: str


@dataclass(frozen=True, slots=True)
class Written:
    """The write under way has ended."""

    error: LbError | None


Mutation = Register | Update | Remove
Message = Mutation | Settle | Probed | Synced | Described | Loaded | Failed | Written
