"""Whom a request is given to: one way after the other, one endpoint after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from llmlb.accounting import Lease
from llmlb.actors.admission import (
    Closed,
    ModelUnknown,
    NoneCapable,
    RateLimited,
    Ready,
    Timeout,
    WaitResult,
)
from llmlb.errors import LbError, ModelNotFound, ResponseStateUnavailable
from llmlb.house import House
from llmlb.http.attempts import Attempts, look_into
from llmlb.http.cutoff import CutOff
from llmlb.http.downstream import Downstream, Inbound
from llmlb.http.inference import InferenceRequest
from llmlb.http.trail import Trail
from llmlb.http.turned_away import shutting_down, turned_away
from llmlb.http.upstream.faults import UpstreamFault
from llmlb.http.ways import Way, may_turn_elsewhere
from llmlb.routing import admission_control


@dataclass(frozen=True, slots=True)
class Trying:
    """Waits for leases, and has attempts made under them, until one has answered."""

    house: House
    attempts: Attempts
    cut_off: CutOff

    async def take(
        self,
        ways: Sequence[Way],
        request: InferenceRequest,
        inbound: Inbound,
        downstream: Downstream,
        trail: Trail,
    ) -> None:
        """Go the first way at whose end is an answer. Raises the LbError that is the answer."""
        first: LbError | None = None
        for way in ways:
            trail.turn_to(way)
            try:
                await self._try_endpoints(request, inbound, downstream, trail)
            except LbError as error:
                first = first or error
                if trail.committed or trail.hopeless or not may_turn_elsewhere(error):
                    raise
            else:
                return
        if first is not None:
            raise first

    async def _try_endpoints(
        self, request: InferenceRequest, inbound: Inbound, downstream: Downstream, trail: Trail
    ) -> None:
        """Give one endpoint after the other its chance, until one has answered."""
        while True:
            with await self._admitted(request, trail) as lease:
                trail.begin_trying(self.house.settings.retry_timeout_s)
                try:
                    await self.attempts.run(lease, request, inbound, downstream, trail)
                except UpstreamFault as fault:
                    look_into(self.house, lease.endpoint, fault)
                    if trail.committed:
                        return
                    trail.failed(lease, fault)
                    if trail.hopeless or trail.only is not None or trail.too_late:
                        raise trail.error() from None
                except LbError:
                    if trail.committed:
                        return
                    raise
                else:
                    return

    async def _admitted(self, request: InferenceRequest, trail: Trail) -> Lease:
        """A lease for *request*, after as long in line as the settings allow."""
        asked_at_s = trio.current_time()
        result: WaitResult | None = None
        try:
            result = await self._wait(request, trail)
        finally:  # also if the client has left the line
            if not isinstance(result, Ready):
                view = self.house.admission.view(
                    trail.model,
                    request.api,
                    excluding=trail.excluded,
                    tried=trail.tried,
                    only=trail.only,
                )
                trail.turned_away(result, view, waited_s=trio.current_time() - asked_at_s)
        # No await from here to the caller's `with`: a lease is held the moment it is given.
        if isinstance(result, Ready):
            trail.granted(result)
            return result.lease
        if isinstance(result, Closed):
            raise shutting_down()
        limited = isinstance(result, RateLimited) and trail.only_limited
        if trail.faults and not limited:  # if limited, one that was not tried may be free first
            raise trail.error()
        if trail.continues and isinstance(result, NoneCapable):
            raise ResponseStateUnavailable(
                "The endpoint that keeps this conversation is not serving at the moment.",
                retry_after_s=result.retry_after_s,
            )
        if trail.only is not None and isinstance(result, ModelUnknown):
            raise ModelNotFound(trail.model, of_one=True)
        raise turned_away(result, trail.model, waited_s=trail.waited_s)

    async def _wait(self, request: InferenceRequest, trail: Trail) -> WaitResult:
        """What admission answers; Closed as well if the balancer stops meanwhile."""
        settings = self.house.settings
        limit_s = min(max(0.0, settings.queue_timeout_s - trail.waited_s), trail.left_s)
        # without patience the answer comes at once
        until_s = trio.current_time() + limit_s if limit_s > 0 else math.inf
        # One scope for both ends of the wait: a second one would cost as much as the whole ask.
        with self.cut_off.scope(deadline=until_s) as waiting:
            result = await self.house.admission.wait_for_ready(
                trail.model,
                request.api,
                settings.queue_max,
                excluding=trail.excluded,
                tried=trail.tried,
                only=trail.only,
                decide=admission_control,
                arrival=trail.arrival,
                patient=limit_s > 0,
            )
        if not waiting.cancelled_caught:
            return result
        return Closed() if self.cut_off.over else Timeout()
