"""How many requests run and wait, and how the endpoints take them, at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmlb.actors.admission.health import EndpointHealth
from llmlb.actors.mailbox import MailboxStatistics
from llmlb.types import EndpointId


@dataclass(frozen=True, slots=True)
class AdmissionStatistics:
    """Frozen counts: requests in flight per endpoint, callers waiting per model."""

    in_flight: Mapping[EndpointId, int]
    waiting: Mapping[str, int]
    mailbox: MailboxStatistics
    retrying: int
    """Of those in flight: requests that failed elsewhere, and have no answer yet."""
    health: Mapping[EndpointId, EndpointHealth]
    """Of those endpoints that are not simply well."""
