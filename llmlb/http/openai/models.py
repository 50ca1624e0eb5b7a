"""The model list that clients see: what the endpoints offer, merged by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmlb.routing import eligible
from llmlb.types import Capability, Catalog, Endpoint, Model


def model_list(catalog: Catalog) -> list[dict[str, Any]]:
    """The models that a request could be sent to now, in order of their names."""
    return [
        _item(name, endpoints)
        for name, endpoints in sorted(catalog.by_model.items())
        if eligible(endpoints)
    ]


def model_item(catalog: Catalog, name: str) -> dict[str, Any] | None:
    """One model, also while none of its endpoints is online (`ready` is false then)."""
    endpoints = catalog.offering(name)
    return _item(name, endpoints) if endpoints else None


def _item(name: str, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    serving = eligible(endpoints)
    models = [_of(endpoint, name) for endpoint in serving or endpoints]
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
    }


def _of(endpoint: Endpoint, name: str) -> Model:
    return next(model for model in endpoint.models if model.id == name)
