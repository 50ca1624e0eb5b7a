"""The model list that clients see: what the endpoints offer, merged by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from llmlb.catalog import Catalog, Reach
from llmlb.model_names import equivalents
from llmlb.routing import eligible
from llmlb.types import Capability, Endpoint, Model

Allowed = Callable[[str], bool]
"""Whether a name may be asked for by whoever asks."""


def _any(_: str) -> bool:
    return True


def model_list(catalog: Catalog, allowed: Allowed = _any) -> list[dict[str, Any]]:
    """The models that a request could be sent to now, in order of their names."""
    names = _other_names(catalog)
    return [
        _item(name, catalog.reach(name), names[name], allowed)
        for name, endpoints in sorted(catalog.by_model.items())
        if eligible(endpoints) and allowed(name)
    ]


def known_models(catalog: Catalog) -> list[dict[str, Any]]:
    """All models of all endpoints, also those that no endpoint serves now."""
    names = _other_names(catalog)
    return [
        _item(name, catalog.reach(name), names[name], _any) for name in sorted(catalog.by_model)
    ]


def model_item(catalog: Catalog, name: str, allowed: Allowed = _any) -> dict[str, Any] | None:
    """One model, also while none of its endpoints is online (`ready` is false then).

    *name* may also be one that is not listed, but known to mean the same as one that is.
    """
    reach = catalog.reach(name)
    if not (reach.endpoints and allowed(name)):
        return None
    return _item(name, reach, _other_names(catalog)[name], allowed)


def _other_names(catalog: Catalog) -> defaultdict[str, set[str]]:
    """By the id of a model: the listed names, besides it, that reach it on some endpoint."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    for name in catalog.by_model:
        for own_id in catalog.reach(name).own_ids.values():
            names[own_id].add(name)
    return names


def _item(name: str, reach: Reach, others: Iterable[str], allowed: Allowed) -> dict[str, Any]:
    endpoints, stands_for = reach.endpoints, set(reach.own_ids.values())
    serving = eligible(endpoints)
    models = [_of(endpoint, reach.own_ids[endpoint.id]) for endpoint in serving or endpoints]
    context = [m.max_tokens for m in models if m.max_tokens is not None]
    capabilities = frozenset[Capability]().union(*(m.capabilities for m in models))
    return {
        "id": name,
        "object": "model",
        "created": int(min(e.registered_at for e in endpoints).timestamp()),
        "owned_by": "llmlb",
        "ready": bool(serving),
        "max_tokens": min(context, default=None),
        "capabilities": {c.value: c in capabilities for c in Capability},
        "endpoint_ids": [endpoint.id for endpoint in serving],
        "aliases": sorted(filter(allowed, {*others, *equivalents(name)} - {name})),
        "alias_of": [] if name in stands_for else sorted(filter(allowed, stands_for)),
    }


def _of(endpoint: Endpoint, own_id: str) -> Model:
    return next(model for model in endpoint.models if model.id == own_id)
