"""What a fault says of the endpoint: whether it is ill, and how long it wants to be left alone."""

from __future__ import annotations

from llmlb.accounting import Verdict
from llmlb.http.upstream.faults import UpstreamFault

_SAYS_WHEN = frozenset({429, 503})
"""Statuses whose `Retry-After` says when the endpoint is free again."""

_NOT_THERE = frozenset({404, 405, 501})
"""It lacks a model or a route, and may serve all others well."""


def verdict_on(fault: UpstreamFault) -> Verdict:
    """The verdict on the endpoint that failed by *fault*.

    A 429 that says when to come back is no illness; one that does not say so counts, for nothing
    else would keep a request from being wasted on it time and again.
    """
    cools_s = (fault.retry_after_s or 0.0) if fault.status in _SAYS_WHEN else 0.0
    limited = fault.status == 429 and cools_s > 0
    return Verdict(ill=not limited and fault.status not in _NOT_THERE, cools_s=cools_s)
