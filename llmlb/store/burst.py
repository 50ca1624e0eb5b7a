"""What actors hand to the store and get from it: plain values that know no SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from typing import NamedTuple

from llmlb.accounting import Speed, Totals
from llmlb.accounts import KeyId
from llmlb.minutes import MinuteCount
from llmlb.types import Api, EndpointId, Whereabouts


class StatKey(NamedTuple):
    """What one row of statistics is about: one model of one endpoint, on one UTC day."""

    endpoint_id: EndpointId
    model: str
    api: Api
    day: date


class UsageKey(NamedTuple):
    """What one row of usage is about: what was asked for with one key, on one UTC day."""

    endpoint_id: str
    """Empty: no endpoint was asked."""
    model: str
    """As the client named it; empty: no endpoint has it, so that there is no end to such names."""
    api: Api
    day: date
    key_id: str
    """Empty: there was none."""


class TimedAttempt(NamedTuple):
    """How fast one successful attempt was."""

    endpoint_id: EndpointId
    model: str
    day: date
    speed: Speed


@dataclass(frozen=True, slots=True)
class Burst:
    """What is written together: all of it or nothing.

    *totals*, *usage* and *speeds* are added to what is stored, latencies (ms) and *minutes*
    replace it. *responses* are the newest words on stored responses, by id, in the order in which
    they were said; None: it is gone. *key_uses* says when a key was used last.
    """

    totals: Mapping[StatKey, Totals] = field(default_factory=dict)
    latencies: Mapping[EndpointId, float] = field(default_factory=dict)
    model_latencies: Mapping[tuple[EndpointId, str, Api], float] = field(default_factory=dict)
    responses: Mapping[str, Whereabouts | None] = field(default_factory=dict)
    key_uses: Mapping[KeyId, datetime] = field(default_factory=dict)
    usage: Mapping[UsageKey, Totals] = field(default_factory=dict)
    speeds: Sequence[TimedAttempt] = ()
    minutes: Mapping[datetime, MinuteCount] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many rows it is."""
        return sum(len(getattr(self, part.name)) for part in fields(self))


@dataclass(frozen=True, slots=True)
class StoredLatency:
    """One latency EMA as it was last written; model and api are None for the whole endpoint."""

    endpoint_id: EndpointId
    model: str | None
    api: Api | None
    latency_ms: float
