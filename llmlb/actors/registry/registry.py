"""Which endpoints there are, in what state, and what models they list."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import assert_never

import structlog
import trio

from llmlb.actors.mailbox import ActorGone, Mailbox, MailboxStatistics
from llmlb.actors.registry.changes import changed, refuse_duplicate, watched_otherwise
from llmlb.actors.registry.messages import (
    Change,
    Described,
    Failed,
    Loaded,
    Message,
    Mutation,
    Probed,
    Register,
    Remove,
    Settle,
    Synced,
    Update,
    Written,
)
from llmlb.actors.registry.neighbours import EndpointStore, Listener
from llmlb.actors.registry.writes import Writes
from llmlb.catalog import Catalog
from llmlb.errors import LbError, NotFound
from llmlb.routing import Standings, after_probe, after_refusal, eligible, order
from llmlb.types import (
    Api,
    DeviceReport,
    Endpoint,
    EndpointId,
    Mode,
    Status,
    Survey,
)

log = structlog.get_logger()

CLOSING_WRITE_LIMIT_S = 5.0


class EndpointRegistry:
    """Owns the endpoints, their status and their models; publishes a frozen catalog.

    An operator's change counts once it is in the database; what probes observe counts at
    once and is written behind.
    """

    def __init__(
        self,
        store: EndpointStore,
        endpoints: Iterable[Endpoint],
        *,
        listener: Listener,
        standings: Standings,
        aliases: Mapping[str, Sequence[str]] = MappingProxyType({}),
        now: Callable[[], datetime],
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        """*aliases* are names of the settings; see `Catalog.of`.

        *now* tells the wall clock (UTC), *clock* monotonic seconds.
        """
        self._mailbox = Mailbox[Message]()
        self._store, self._listener = store, listener
        self._standings, self._now, self._clock = standings, now, clock
        self._endpoints = {e.id: e for e in endpoints}
        self._writes = Writes()
        self._aliases = aliases
        self._catalog = Catalog.of(self._endpoints, aliases=aliases)
        self._turn = 0
        self._last_turn: dict[EndpointId, int] = {}
        self._children: trio.Nursery

    @property
    def catalog(self) -> Catalog:
        """The endpoints as they are now; a frozen view."""
        return self._catalog

    def find_by_model_sorted_by_latency(self, model: str, api: Api | None = None) -> list[Endpoint]:
        """The endpoints that can serve *model* now, quickest first; equals take turns.

        An unmeasured endpoint comes first, so that it gets a value. Leases play no part
        here: that is admission's business.
        """
        reach = self._catalog.reach(model)
        found = order(
            eligible(reach.endpoints),
            own_id=lambda e: reach.own_ids[e.id],
            api=api,
            standings=self._standings,
            in_flight={},
            last_turn=self._last_turn,
            now_s=self._clock(),
        )
        if found:
            self._turn += 1
            self._last_turn[found[0].id] = self._turn
        return found

    async def register(self, endpoint: Endpoint) -> Endpoint:
        """Add *endpoint*; durable on return. Raises Conflict, StoreUnavailable, ActorGone."""
        return await self._mailbox.ask(Register(endpoint))

    async def update(self, endpoint_id: EndpointId, change: Change) -> Endpoint:
        """Edit one endpoint; durable on return.

        A new URL or key starts it anew as pending. Raises NotFound, Conflict,
        StoreUnavailable, ActorGone, and whatever LbError *change* raises.
        """
        return await self._mailbox.ask(Update(endpoint_id, change))

    async def remove(self, endpoint_id: EndpointId) -> None:
        """Delete one endpoint; its running requests finish. Raises like `update`."""
        await self._mailbox.ask(Remove(endpoint_id))

    async def settled(self) -> Catalog:
        """The catalog after everything told so far. Raises ActorGone."""
        return await self._mailbox.ask(Settle())

    def probed(self, endpoint: Endpoint, failure: str | None) -> None:
        self._mailbox.tell(Probed(endpoint, failure))

    def synced(self, endpoint: Endpoint, survey: Survey) -> None:
        self._mailbox.tell(Synced(endpoint, survey))

    def described(self, endpoint: Endpoint, device: DeviceReport) -> None:
        self._mailbox.tell(Described(endpoint, device))

    def loaded(self, endpoint: Endpoint, models: frozenset[str] | None) -> None:
        self._mailbox.tell(Loaded(endpoint, models))

    def failed(self, endpoint: Endpoint, reason: str) -> None:
        self._mailbox.tell(Failed(endpoint, reason))

    def mailbox_statistics(self) -> MailboxStatistics:
        return self._mailbox.statistics()

    def close(self) -> None:
        """Take in what was told, save it, then stop."""
        self._mailbox.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        error: LbError | None = None
        with trio.CancelScope() as closing:
            async with trio.open_nursery() as self._children:
                self._publish()
                for endpoint in self._endpoints.values():
                    self._watch(endpoint, at_once=False)
                await self._mailbox.serve(self._handle, task_status=task_status)
                closing.deadline = trio.current_time() + CLOSING_WRITE_LIMIT_S
            unsaved = self._snapshots(self._writes.unsaved | self._writes.saving)
            if unsaved:
                error = await _refusal_of(self._store.save_observed(unsaved))
        if closing.cancelled_caught:
            error = LbError(f"no answer within {CLOSING_WRITE_LIMIT_S:.0f} s")
        if error is not None:
            log.warning("the last endpoint states were not saved", reason=str(error))

    def _handle(self, message: Message) -> None:
        match message:
            case Register() | Update() | Remove():
                self._writes.waiting.append(message)
            case Settle(reply=reply):
                reply.answer(self._catalog)
            case Probed(endpoint, failure):
                self._observe(endpoint, lambda e: after_probe(e, at=self._now(), failure=failure))
            case Synced(endpoint, survey):
                self._observe(
                    endpoint,
                    lambda e: replace(
                        e,
                        engine=survey.engine,
                        models=survey.models,
                        engine_concurrency=survey.engine_concurrency,
                        native_apis=survey.native_apis,
                        synced=True,
                    ),
                )
            case Described(endpoint, device):
                self._observe(
                    endpoint,
                    lambda e: replace(e, device_info=device.info, device_note=device.note),
                )
            case Loaded(endpoint, models):
                self._observe(endpoint, lambda e: replace(e, loaded_models=models))
            case Failed(endpoint, reason):
                self._observe(endpoint, lambda e: after_refusal(e, reason))
            case Written(error):
                self._finish_write(error)
            case _:
                assert_never(message)
        self._start_write()

    # -- what probes and requests observe

    def _observe(self, seen: Endpoint, change: Change) -> None:
        before = self._endpoints.get(seen.id)
        if before is None or not before.is_same_server_as(seen):
            return  # an answer of yesterday's server
        after = change(before)
        self._endpoints[seen.id] = after
        self._writes.observed(seen.id, self._clock())
        if after.status is Status.OFFLINE and before.status is not Status.OFFLINE:
            self._listener.went_offline(seen.id)
        self._publish(after)

    def _publish(self, observed: Endpoint | None = None) -> None:
        """Make the catalog anew; if one endpoint was *observed* and no more, that is cheap."""
        known = None if observed is None else self._catalog.with_observed(observed)
        self._catalog = known or Catalog.of(self._endpoints, aliases=self._aliases)
        self._listener.catalog_changed(self._catalog)

    def _watch(self, endpoint: Endpoint, *, at_once: bool) -> None:
        if endpoint.mode is not Mode.DISABLED:
            self._listener.watch(endpoint, at_once=at_once)

    # -- the operator's changes: checked, written, then applied, one at a time

    def _start_write(self) -> None:
        writes = self._writes
        while not writes.busy and writes.waiting:
            mutation = writes.waiting.popleft()
            try:
                work = self._checked(mutation)
            except LbError as refusal:
                mutation.reply.refuse(refusal)
                continue
            writes.current = mutation
            self._children.start_soon(self._write, work)
        if not writes.busy and writes.unsaved and not writes.put_off:
            writes.saving, writes.unsaved = frozenset(writes.unsaved), set()
            snapshots = self._snapshots(writes.saving)
            self._children.start_soon(self._write, lambda: self._store.save_observed(snapshots))

    def _checked(self, mutation: Mutation) -> Callable[[], Awaitable[None]]:
        """The write that *mutation* needs. Raises the LbError that refuses it."""
        match mutation:
            case Register(endpoint=endpoint):
                refuse_duplicate(endpoint, self._endpoints.values())
                return lambda: self._store.insert(endpoint)
            case Update(endpoint_id=endpoint_id, change=change):
                after = changed(self._get(endpoint_id), change)
                refuse_duplicate(after, self._endpoints.values())
                return lambda: self._store.update(after)
            case Remove(endpoint_id=endpoint_id):
                self._get(endpoint_id)
                return lambda: self._store.delete(endpoint_id)

    def _get(self, endpoint_id: EndpointId) -> Endpoint:
        try:
            return self._endpoints[endpoint_id]
        except KeyError:
            raise NotFound(f"There is no endpoint '{endpoint_id}'.") from None

    async def _write(self, work: Callable[[], Awaitable[None]]) -> None:
        error = await _refusal_of(work())
        with suppress(ActorGone):  # closing: run() saves what is left
            self._mailbox.tell(Written(error))

    def _finish_write(self, error: LbError | None) -> None:
        writes = self._writes
        mutation, writes.current = writes.current, None
        saving, writes.saving = writes.saving, frozenset()
        if error is not None:
            if mutation is not None:
                log.warning(
                    "a change of endpoints was not saved", reason=str(error), **mutation.logged
                )
                mutation.reply.refuse(error)
            elif writes.save_refused(saving & self._endpoints.keys(), self._clock()):
                log.warning("states of endpoints could not be saved", reason=str(error))
            return
        writes.worked()
        match mutation:
            case Register(endpoint=endpoint, reply=reply):
                self._endpoints[endpoint.id] = endpoint
                self._publish()
                self._watch(endpoint, at_once=True)
                reply.answer(endpoint)
            case Update(endpoint_id=endpoint_id, change=change, reply=reply):
                reply.answer(self._apply(endpoint_id, change))
            case Remove(endpoint_id=endpoint_id, reply=reply):
                del self._endpoints[endpoint_id]
                writes.unsaved.discard(endpoint_id)
                self._last_turn.pop(endpoint_id, None)
                self._publish()
                self._listener.unwatch(endpoint_id)
                self._listener.forget(endpoint_id)
                reply.answer(None)
            case None:
                return

    def _apply(self, endpoint_id: EndpointId, change: Change) -> Endpoint:
        before = self._endpoints[endpoint_id]
        # Again, on what has been observed since the write began.
        after = changed(before, change)
        self._endpoints[endpoint_id] = after
        self._publish()
        if not after.is_same_server_as(before):
            self._writes.unsaved.add(endpoint_id)  # what the other server was found to be
            self._listener.forget(endpoint_id)
        if after.mode is Mode.DISABLED:
            self._listener.unwatch(endpoint_id)
        elif watched_otherwise(before, after):
            self._listener.watch(after, at_once=True)
        return after

    def _snapshots(self, endpoint_ids: Iterable[EndpointId]) -> list[Endpoint]:
        return [self._endpoints[i] for i in sorted(endpoint_ids) if i in self._endpoints]


async def _refusal_of(write: Awaitable[None]) -> LbError | None:
    """Why *write* was refused; None if it was not."""
    try:
        await write
    except LbError as error:
        return error
    return None
