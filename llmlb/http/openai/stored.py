"""Which endpoint has to answer a request that builds on what an earlier one left there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from llmlb.catalog import Catalog
from llmlb.errors import InvalidRequest, NotFound, ResponseStateUnavailable
from llmlb.types import EndpointId, Mode, Status, Whereabouts

RESPONSE, CONVERSATION = "previous_response_id", "conversation"
"""The fields of a request that name what is kept."""


def endpoint_for(
    asked: Mapping[str, object],
    *,
    owner: str | None,
    whereabouts: Mapping[str, Whereabouts],
    catalog: Catalog,
) -> EndpointId | None:
    """The one endpoint that can answer a request with the fields *asked*; None: any can.

    *owner* is the id of the API key of the request. Raises InvalidRequest for fields that name
    nothing or two endpoints, NotFound for what is unknown or another owner's, and
    ResponseStateUnavailable if the endpoint takes no requests.
    """
    homes = {field: _home_of(named, field, owner, whereabouts) for field, named in _named_in(asked)}
    if not homes:
        return None
    if len(set(homes.values())) > 1:
        raise InvalidRequest(
            f"The response of '{RESPONSE}' and the conversation are kept by different endpoints.",
            param=CONVERSATION,
        )
    endpoint_id = next(iter(homes.values()))
    _refuse_unavailable(endpoint_id, catalog)
    if catalog.endpoints[endpoint_id].mode is Mode.DRAINING:
        raise ResponseStateUnavailable("The endpoint that keeps it takes no new requests.")
    return endpoint_id


def endpoint_holding(
    response_id: str,
    *,
    owner: str | None,
    whereabouts: Mapping[str, Whereabouts],
    catalog: Catalog,
) -> EndpointId:
    """The endpoint to ask about a response: to get, to cancel, to delete it.

    One that is draining is asked, for it still has to finish what runs in the background. Raises
    NotFound for a response that is unknown or another owner's, and ResponseStateUnavailable.
    """
    endpoint_id = _home_of(response_id, "response_id", owner, whereabouts)
    _refuse_unavailable(endpoint_id, catalog)
    return endpoint_id


def _named_in(asked: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """The fields that name something, each with the id. Raises InvalidRequest."""
    for field in (RESPONSE, CONVERSATION):
        value = asked.get(field)
        if field == CONVERSATION and isinstance(value, dict):
            value = value.get("id") or ""
        if isinstance(value, str) and value:
            yield field, value
        elif value is not None:
            shape = "an id" if field == RESPONSE else 'an id, or an object like {"id": "conv_1"}'
            raise InvalidRequest(f"'{field}' must be {shape}.", param=field)


def _home_of(
    named: str, field: str, owner: str | None, whereabouts: Mapping[str, Whereabouts]
) -> EndpointId:
    found = whereabouts.get(named)
    if found is None or found.owner != owner:  # the same words: ids are not to be guessed at
        kind = "conversation" if field == CONVERSATION else "response"
        raise NotFound(f"There is no {kind} '{named[:200]}'.", param=field)
    return found.endpoint_id


def _refuse_unavailable(endpoint_id: EndpointId, catalog: Catalog) -> None:
    """Raise ResponseStateUnavailable unless the endpoint is there, or may turn out to be."""
    endpoint = catalog.endpoints.get(endpoint_id)
    if endpoint is None:
        reason = "has been removed"
    elif endpoint.mode is Mode.DISABLED:
        reason = "is disabled"
    elif not endpoint.initialising and endpoint.status is not Status.ONLINE:
        reason = "cannot be reached"
    else:
        return
    raise ResponseStateUnavailable(f"The endpoint that keeps it {reason}.")
