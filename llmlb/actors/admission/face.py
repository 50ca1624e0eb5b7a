"""What others can ask of the admission controller, and tell it."""

from __future__ import annotations

import math
from collections.abc import Set as AbstractSet
from contextlib import suppress

import trio

from llmlb.accounting import Outcome, Verdict
from llmlb.actors.admission.messages import (
    Begun,
    CatalogChanged,
    Close,
    Decide,
    Message,
    Release,
    TakenBack,
    WaitForReady,
    WaitUntilIdle,
)
from llmlb.actors.admission.results import Timeout, WaitResult
from llmlb.actors.mailbox import ActorGone, Mailbox
from llmlb.catalog import Catalog
from llmlb.types import Api, EndpointId


class AdmissionFace:
    """The callers' side of the controller: owns nothing but the way into its mailbox."""

    def __init__(self) -> None:
        self._mailbox = Mailbox[Message]()

    async def wait_for_ready(
        self,
        model: str,
        api: Api,
        limit: int,
        *,
        excluding: AbstractSet[EndpointId] = frozenset(),
        tried: AbstractSet[EndpointId] = frozenset(),
        only: EndpointId | None = None,
        decide: Decide | None = None,
        arrival: int | None = None,
        patient: bool = True,
    ) -> WaitResult:
        """Wait in line until an endpoint of *model* has room. Cancel to give up the place.

        At most *limit* callers wait, over all models; a free slot needs no place. *decide*
        grades the line where it has at least five places. *excluding* names endpoints that cannot
        do what is asked. One that asks again has *tried* those that failed it, keeps its
        *arrival*, and is refused for neither a full line nor a closing one; while too many are
        being tried again, it waits. With *only*, no other endpoint is considered. One that is not
        *patient* never waits: without a free slot the answer is Timeout. Raises ActorGone.
        """
        return await self._mailbox.ask(
            WaitForReady(model, api, limit, excluding, decide, arrival, only, tried, patient)
        )

    async def wait_for_ready_with_timeout(
        self,
        model: str,
        api: Api,
        limit: int,
        timeout_s: float,
        *,
        excluding: AbstractSet[EndpointId] = frozenset(),
        tried: AbstractSet[EndpointId] = frozenset(),
        only: EndpointId | None = None,
        decide: Decide | None = None,
        arrival: int | None = None,
    ) -> WaitResult:
        """`wait_for_ready` for at most *timeout_s*, then Timeout. Raises ActorGone.

        With 0 seconds a free slot is still granted, but nobody waits.
        """
        patient = timeout_s > 0
        with trio.move_on_after(timeout_s if patient else math.inf):
            return await self.wait_for_ready(
                model,
                api,
                limit,
                excluding=excluding,
                tried=tried,
                only=only,
                decide=decide if patient else None,
                arrival=arrival,
                patient=patient,
            )
        return Timeout()

    def catalog_changed(self, catalog: Catalog) -> None:
        self._mailbox.tell(CatalogChanged(catalog))

    def refuse_all(self) -> None:
        """Answer the line with Closed, and everyone new who comes later; leases go on."""
        self._mailbox.tell(Close())

    async def wait_until_idle(self) -> None:
        """Return once no lease is out. Raises ActorGone. Cancel to give up."""
        await self._mailbox.ask(WaitUntilIdle())

    def close(self) -> None:
        self._mailbox.close()

    # -- leases tell

    def give_back(self, serial: int, outcome: Outcome, verdict: Verdict) -> None:
        """`Lease.release`."""
        with suppress(ActorGone):  # no owner left to give it back to
            self._mailbox.tell(Release(serial, outcome, verdict))

    def begun(self, serial: int) -> None:
        """`Lease.begun`."""
        with suppress(ActorGone):
            self._mailbox.tell(Begun(serial))

    def taken_back(self, serial: int, endpoint_id: EndpointId) -> None:
        """`Lease.take_back`."""
        with suppress(ActorGone):
            self._mailbox.tell(TakenBack(serial, endpoint_id))
