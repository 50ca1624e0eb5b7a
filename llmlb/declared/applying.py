"""How the stored endpoints are made to agree with llmlb.toml, before anything else starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

import structlog

from llmlb.declared.file import read_declared
from llmlb.declared.plan import Addition, Adoption, Removal, Renaming, Step, reconcile
from llmlb.errors import LbError, StartupError
from llmlb.settings import Settings
from llmlb.types import Endpoint, EndpointId

log = structlog.get_logger()


class EndpointStore(Protocol):
    """Where endpoints outlive the process; each call is durable on return."""

    async def all(self) -> list[Endpoint]: ...
    async def insert(self, endpoint: Endpoint) -> None: ...
    async def update(self, endpoint: Endpoint) -> None: ...
    async def delete(self, endpoint_id: EndpointId) -> None: ...
    async def save_observed(self, endpoints: Sequence[Endpoint]) -> None: ...


class Store(Protocol):
    """The part of the store that declared endpoints live in."""

    @property
    def endpoints(self) -> EndpointStore: ...


async def apply_declared(
    settings: Settings,
    store: Store,
    *,
    environment: Mapping[str, str] = os.environ,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Bring the endpoints in *store* to what llmlb.toml declares; a second time does nothing.

    Raises StartupError, one sentence per mistake in the file; then nothing was changed. Takes
    as long as the store does.
    """
    declared = read_declared(settings, environment)  # blocks, but nothing else runs yet
    try:
        steps = reconcile(
            declared,
            await store.endpoints.all(),
            at=now(),
            default_interval_s=settings.health_check_interval_s,
        )
        for step in steps:
            await _take(step, store.endpoints)
            _tell(step)
    except LbError as error:
        raise StartupError(f"The declared endpoints could not be stored: {error}") from error


async def _take(step: Step, store: EndpointStore) -> None:
    match step:
        case Removal(endpoint):
            await store.delete(endpoint.id)
        case Addition(endpoint):
            await store.insert(endpoint)
        case Renaming(endpoint):
            await store.update(endpoint)
        case Adoption(endpoint, before):
            if not endpoint.is_same_server_as(before):
                # First, for if we are broken off after it, the next start does all of it again.
                await store.save_observed([endpoint])
            await store.update(endpoint)


def _tell(step: Step) -> None:
    name = step.endpoint.name
    match step:
        case Removal():
            log.warning("an endpoint is no longer declared and was removed", endpoint=name)
        case Renaming(before=before):
            log.warning(
                "an endpoint was renamed: its name is declared for another",
                endpoint=before.name,
                new_name=name,
            )
        case Adoption():
            log.info("an endpoint is as it is declared", endpoint=name)
        case Addition():
            log.info("a declared endpoint was added", endpoint=name)
