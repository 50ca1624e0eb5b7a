"""What an operator's change does to an endpoint, and which changes are refused: pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from llmlb.actors.registry.messages import Change
from llmlb.errors import Conflict
from llmlb.types import Endpoint, Mode


def changed(before: Endpoint, change: Change) -> Endpoint:
    """*before* after *change*, without what was observed if that no longer holds."""
    after = change(before)
    if not after.is_same_server_as(before):
        return after.as_another_server()
    if before.mode is Mode.DISABLED and after.mode is not Mode.DISABLED:
        # Nobody has looked at it for a while: worth waiting for until somebody has.
        return replace(after, probed=False, synced=False)
    return after


def refuse_duplicate(endpoint: Endpoint, known: Iterable[Endpoint]) -> None:
    """Raise Conflict if another one of *known* has the name or the URL."""
    for other in known:
        if other.id == endpoint.id:
            continue
        if other.name == endpoint.name:
            raise Conflict(f"The name '{endpoint.name}' is taken.", param="name")
        if other.base_url == endpoint.base_url:
            raise Conflict(f"'{other.name}' is already registered with this URL.", param="base_url")


def watched_otherwise(before: Endpoint, after: Endpoint) -> bool:
    """Whether the change is one that the prober has to know of."""
    return (
        not after.is_same_server_as(before)
        or before.mode is Mode.DISABLED
        or before.health_check_interval_s != after.health_check_interval_s
    )
