"""How fast the endpoints of a model answer: asked the way clients ask, and counted apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import cycle, islice

import trio

from llmlb.accounting import Lease
from llmlb.actors.admission import Ready
from llmlb.actors.mailbox import ActorGone
from llmlb.errors import LbError
from llmlb.house import House
from llmlb.http.attempts import Attempts, look_into
from llmlb.http.cutoff import CutOff
from llmlb.http.downstream import Head, Inbound
from llmlb.http.inference import InferenceRequest
from llmlb.http.openai.request import parse_request
from llmlb.http.paths import PATHS
from llmlb.http.trail import Trail
from llmlb.http.turned_away import shutting_down, turned_away
from llmlb.http.upstream.client import UpstreamClient
from llmlb.http.upstream.faults import UpstreamFault
from llmlb.jobs import BenchmarkPlan, Sample
from llmlb.jobs.benchmarks import speed_of
from llmlb.types import Api, EndpointId

PROMPT = "Count upwards from 1, one number on each line, and do not stop."
"""So that an answer is as long as it may be."""

SOURCE = "benchmark"
"""What its figures say of where they come from."""

LEASE_LIMIT_S = 600.0
"""So long one request waits for a lease; a run is in no hurry."""

_NO_LIMIT = 1_000_000
"""Of the line: at most one request per run and endpoint stands in it."""

ERROR_CHARS = 200


class _Nobody:
    """In the place of a client: takes everything, and keeps nothing."""

    peer_gone = False

    async def begin(self, head: Head) -> None:  # noqa: ARG002
        await trio.lowlevel.checkpoint()

    async def send(self, data: bytes) -> None:  # noqa: ARG002
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        """There is nothing to end."""


@dataclass(slots=True)
class Bench:
    """One run: the endpoints take turns, and each request is admitted like a client's.

    What it takes are leases, within each endpoint's capacity, and it waits in the line: but only
    with one request at a time for each endpoint, so that the clients' come first. An attempt goes
    the way of any other (`Attempts`), and is not counted: neither the history nor the latency
    that decides the order knows of it.
    """

    house: House
    client: UpstreamClient
    cut_off: CutOff
    plan: BenchmarkPlan
    endpoints: tuple[EndpointId, ...]
    _request: InferenceRequest = field(init=False)
    _inbound: Inbound = field(init=False)
    _lines: dict[EndpointId, trio.Lock] = field(init=False)

    def __post_init__(self) -> None:
        api = self.plan.api
        body = _body(self.plan)
        self._request = parse_request(api, PATHS[api], body)
        headers = {"accept": "text/event-stream"}
        request_id = f"{SOURCE}-{self.house.world.new_id()}"
        self._inbound = Inbound("POST", PATHS[api], headers, body, request_id)
        self._lines = {endpoint_id: trio.Lock() for endpoint_id in self.endpoints}

    async def run(self, measured: Callable[[Sample], None]) -> None:
        """Make all requests, and tell of each."""
        attempts = Attempts(self.house, self.client, self.cut_off, counted=False)
        turns = islice(cycle(self.endpoints), self.plan.total_requests)

        async def work() -> None:
            for endpoint_id in turns:
                measured(await self._sample(endpoint_id, attempts))

        async with trio.open_nursery() as nursery:
            for _ in range(min(self.plan.concurrency, self.plan.total_requests)):
                nursery.start_soon(work)

    async def _sample(self, endpoint_id: EndpointId, attempts: Attempts) -> Sample:
        trail = Trail(model=self.plan.model, only=endpoint_id)
        try:
            with await self._admitted(endpoint_id) as lease:
                await self._ask(lease, attempts, trail)
        except (LbError, UpstreamFault, ActorGone) as error:
            failure = shutting_down() if isinstance(error, ActorGone) else error
            return Sample(endpoint_id, succeeded=False, error=str(failure)[:ERROR_CHARS])
        attempt = trail.tries[-1]
        tps = speed_of(trail.usage, attempt.duration_ms, attempt.time_to_first_token_ms)
        return Sample(endpoint_id, succeeded=True, tps=tps)

    async def _admitted(self, endpoint_id: EndpointId) -> Lease:
        """A lease on that endpoint. Raises what a client would be told without one."""
        line = self._lines[endpoint_id]
        await line.acquire()
        try:
            result = await self.house.admission.wait_for_ready_with_timeout(
                self.plan.model, self.plan.api, _NO_LIMIT, LEASE_LIMIT_S, only=endpoint_id
            )
        finally:
            line.release()
        # No await from here to the caller's `with`: a lease is held the moment it is given.
        if isinstance(result, Ready):
            return result.lease
        raise turned_away(result, self.plan.model, waited_s=LEASE_LIMIT_S)

    async def _ask(self, lease: Lease, attempts: Attempts, trail: Trail) -> None:
        """One attempt. Raises UpstreamFault and LbError."""
        try:
            await attempts.run(lease, self._request, self._inbound, _Nobody(), trail)
        except UpstreamFault as fault:
            look_into(self.house, lease.endpoint, fault)
            raise


def _body(plan: BenchmarkPlan) -> bytes:
    fields: dict[str, object] = {
        "model": plan.model,
        "stream": True,
        "temperature": plan.temperature,
    }
    match plan.api:
        case Api.RESPONSES:
            fields |= {"input": PROMPT, "max_output_tokens": plan.max_tokens, "store": False}
        case Api.COMPLETIONS:
            fields |= {"prompt": PROMPT, "max_tokens": plan.max_tokens}
        case _:
            said = [{"role": "user", "content": PROMPT}]
            fields |= {"messages": said, "max_tokens": plan.max_tokens}
    return json.dumps(fields).encode()
