"""Which models a request may be served by, and which endpoints of each are out of the question."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from llmlb.catalog import Catalog
from llmlb.errors import (
    LbError,
    ModelNotFound,
    NoCapableEndpoints,
    UnsupportedCapability,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from llmlb.http.capability import endpoints_without
from llmlb.http.inference import InferenceRequest
from llmlb.types import Capability, EndpointId

_CANNOT_SERVE = (
    ModelNotFound,
    NoCapableEndpoints,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnreachable,
)


class Way(Struct, frozen=True):
    """One model to ask for, by the name in the catalog."""

    model: str
    excluded: frozenset[EndpointId]
    """Endpoints that have the model, but cannot do what is asked of it."""


def ways_for(
    request: InferenceRequest,
    names: Sequence[str],
    catalog: Catalog,
    *,
    needs: frozenset[Capability],
    only: EndpointId | None,
) -> list[Way]:
    """A way for each of *names*, in order, where an endpoint might serve it.

    Raises the first name's LbError if no endpoint of any of them can.
    """
    ways: list[Way] = []
    first: LbError | None = None
    for name in names:
        try:
            ways.append(_way(request, name, catalog, needs, only))
        except LbError as error:
            first = first or error
    if first is not None and not ways:
        raise first
    return ways


def may_turn_elsewhere(error: LbError) -> bool:
    """Whether *error* says that no endpoint can serve the model, so that another model may.

    A full line or a refusal of the request itself say something else.
    """
    return isinstance(error, _CANNOT_SERVE)


def _way(
    request: InferenceRequest,
    name: str,
    catalog: Catalog,
    needs: frozenset[Capability],
    only: EndpointId | None,
) -> Way:
    reach = catalog.reach(name)
    offering = reach.endpoints
    if only is not None:
        offering = tuple(e for e in offering if e.id == only)
    excluded = request.beyond(offering)
    for need in sorted(needs):
        excluded |= endpoints_without(need, name, offering, reach.own_ids)
    if offering and len(excluded) == len(offering):
        raise UnsupportedCapability(
            f"No endpoint of '{name[:200]}' can do all that is asked of it.", param="model"
        )
    return Way(name, excluded)
