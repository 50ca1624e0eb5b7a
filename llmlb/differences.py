"""Which events lie between two states of the endpoints: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice

from llmlb.events import (
    EndpointRegistered,
    EndpointRemoved,
    EndpointStatusChanged,
    EndpointUpdated,
    Event,
    ModelsChanged,
)
from llmlb.types import Endpoint, EndpointId, Model

MOST_NAMED = 100
"""Of the models that came, went or changed: an endpoint may list thousands."""


def differences(
    before: Mapping[EndpointId, Endpoint], after: Mapping[EndpointId, Endpoint]
) -> Iterator[Event]:
    """What has happened in between, in the order in which it makes sense."""
    for endpoint_id, gone in before.items():
        if endpoint_id not in after:
            yield EndpointRemoved(endpoint_id, gone.name)
    for endpoint_id, now in after.items():
        was = before.get(endpoint_id)
        if was is now:
            continue
        if was is None:
            yield EndpointRegistered(endpoint_id, now.name, now.base_url, now.status)
            yield from _of_models((), now)
        else:
            yield from _of_one(was, now)


def _of_one(was: Endpoint, now: Endpoint) -> Iterator[Event]:
    if _as_it_does(was, like=now) != now:
        yield EndpointUpdated(now.id, now.name, now.mode)
    if was.status is not now.status:
        yield EndpointStatusChanged(now.id, now.name, was.status, now.status, now.last_error)
    yield from _of_models(was.models, now)


def _as_it_does(was: Endpoint, *, like: Endpoint) -> Endpoint:
    """*was*, doing as well as *like* does.

    What every probe changes is named here, and not what an operator may: a field that is new
    counts as a change that is told, until it is named.
    """
    return replace(
        was,
        status=like.status,
        latency_ms=like.latency_ms,
        models=like.models,
        last_seen_at=like.last_seen_at,
        last_error=like.last_error,
        error_count=like.error_count,
        loaded_models=like.loaded_models,
        probed=like.probed,
        synced=like.synced,
    )


def _of_models(models: Iterable[Model], now: Endpoint) -> Iterator[Event]:
    had, has = {m.id: m for m in models}, {m.id: m for m in now.models}
    if had != has:
        yield ModelsChanged(
            now.id,
            now.name,
            len(now.models),
            added=_first(i for i in has if i not in had),
            removed=_first(i for i in had if i not in has),
            updated=_first(i for i in has if i in had and has[i] != had[i]),
        )


def _first(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(islice(names, MOST_NAMED))
