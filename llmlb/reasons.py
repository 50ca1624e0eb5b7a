"""Why admission answered as it did, in a sentence for people."""

from __future__ import annotations

import math

from llmlb.records import Candidate, Decision

_REFUSED = {
    "timeout": "No endpoint came free within the time that it may wait.",
    "line_full": "No endpoint had room, and too many were waiting already.",
    "model_unknown": "No endpoint has this model.",
    "none_capable": "Every endpoint that could serve it is down, or has failed it already.",
    "rate_limited": "Every endpoint of the model has asked to be given nothing for a while.",
    "closed": "The balancer was shutting down.",
    "client_left": "The client left before an endpoint came free.",
}


_REFUSED_OF_ONE = {
    "timeout": "The only endpoint that may serve it did not come free within the time.",
    "model_unknown": "The only endpoint that may serve it does not have this model.",
    "none_capable": "The only endpoint that may serve it is down, or has failed it already.",
    "rate_limited": "The only endpoint that may serve it has asked to be left alone for a while.",
}


def why(decision: Decision, *, only: bool = False) -> str:
    """One sentence: the grounds of this decision, as its candidates show them.

    *only*: no other endpoint was looked at, for the request was for this one.
    """
    refused = _REFUSED | _REFUSED_OF_ONE if only else _REFUSED
    could = [c for c in decision.view.candidates if c.excluded is None]
    chosen = next((c for c in could if c.endpoint_id == decision.endpoint_id), None)
    if chosen is None:
        return refused.get(decision.answer, "It was given to no endpoint.")
    if only:
        return "The request was for this endpoint, or for what it keeps, and for no other."
    others = [c for c in could if c is not chosen]
    if not others:
        alone = len(decision.view.candidates) + decision.view.omitted == 1
        return (
            "It is the only endpoint of the model." if alone else "It was the only one that could."
        )
    return _why_before(chosen, others)


def _why_before(chosen: Candidate, others: list[Candidate]) -> str:
    if chosen.latency_ms is None:
        if chosen.in_flight == 0:
            return "It has not been measured yet, so it is tried before the others."
        return "None of those that could has been measured yet."
    fastest_other = min(
        (c.latency_ms for c in others if c.latency_ms is not None), default=math.inf
    )
    if chosen.latency_ms < fastest_other:
        return "It has the lowest latency of those that could."
    if chosen.latency_ms == fastest_other:
        return "It is as fast as the fastest of the others, and it was its turn."
    return "Its latency was old, and is measured again; or none of them was well."
