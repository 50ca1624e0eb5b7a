"""One call to one endpoint, and its answer passed on as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import trio

from llmlb.accounting import Usage
from llmlb.errors import (
    InvalidRequest,
    LbError,
    OwnTimeOver,
    UpstreamError,
    UpstreamTimeout,
)
from llmlb.http.answer_head import EVENTS, JSON, for_client, json_unless_named, refuse_unasked
from llmlb.http.budget import Budget, Patience
from llmlb.http.cutoff import CutOff
from llmlb.http.downstream import FAREWELL_LIMIT_S, Downstream, Head, Headers, PeerGone
from llmlb.http.flow import EventFlow
from llmlb.http.inference import Call
from llmlb.http.members import renaming
from llmlb.http.refusal import refusal_of
from llmlb.http.splicing import edited
from llmlb.http.turned_away import shutting_down
from llmlb.http.upstream.client import UpstreamClient, UpstreamResponse
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.http.upstream.quoting import without_secrets
from llmlb.types import Endpoint

PLAIN_LIMIT_BYTES = 8 * 1024 * 1024
"""A plain answer up to this size is read whole and checked before any of it is sent."""

WITHHELD_LIMIT_BYTES = 64 * 1024
"""A stream that has said this much without content has begun all the same."""

LINGER_S = 1.0
"""After `[DONE]` the endpoint has this long to end its body, so the connection can be kept."""


@dataclass(slots=True)
class Relay:
    """One attempt: sends the request to one endpoint and passes its answer on.

    Until `committed` nothing has reached the client, and a failure is the next endpoint's
    chance; after it, a failure ends the answer.
    """

    client: UpstreamClient
    endpoint: Endpoint
    asked: Call
    downstream: Downstream
    patience: Patience
    outgoing: Headers
    """Headers for the endpoint."""
    own_headers: Headers
    """Headers of ours for the client."""
    cut_off: CutOff
    metered: bool = True
    """Ask for usage at the end of a stream, even if the client did not."""
    clock: Callable[[], float] = trio.current_time
    on_begun: Callable[[], None] = lambda: None
    """Told at the commit point: the endpoint's answer has begun, and is good so far."""
    committed: bool = False
    first_token_at_s: float | None = None
    delivered_at_s: float | None = None
    """When the client had been sent all of a good answer; what comes later changes nothing."""
    _budget: Budget = field(init=False)
    _flow: EventFlow = field(init=False)
    _plain_usage: Usage = field(default_factory=Usage, init=False)

    def __post_init__(self) -> None:
        self._budget = Budget(self.patience, self.clock)
        self._flow = EventFlow(self.asked.dialect, self.asked.choices)

    @property
    def client_s(self) -> float:
        """How long the client took to take what it was sent."""
        return self._budget.client_s

    @property
    def usage(self) -> Usage:
        """The tokens counted so far: as the endpoint told, else those that came.

        A client that leaves before the end never gets to hear of its usage, but it has had it.
        """
        told = self._flow.meter.usage if self.asked.stream else self._plain_usage
        if told.total and self.delivered_at_s is not None:
            return told
        # of a stream that was broken off some engines have told what went in, but no more
        if self._flow.said_events > (told.output_tokens or 0):
            return Usage(told.input_tokens, self._flow.said_events, estimated=True)
        return told

    @property
    def _added_usage(self) -> bool:
        """Whether the usage at the end of the stream was our wish, not the client's."""
        return self.metered and self.asked.metered_body is not None

    async def run(self) -> None:
        """Relay the whole answer.

        Raises UpstreamFault (look at `committed` before trying elsewhere), EndpointRefusal,
        UsageRefused (try again, not metered), PeerGone, ShuttingDown, OwnTimeOver.
        """
        budget = self._budget
        with budget.scope(self.cut_off, stream=self.asked.stream) as scope:
            try:
                await self._call()
            except UpstreamFault as fault:  # an error in a 200, or in a stream, is foreign text
                raise fault.reworded(without_secrets(str(fault), self.endpoint)) from None
        if not scope.cancelled_caught:
            return
        if self.cut_off.over:
            raise shutting_down()
        if budget.clients_turn:
            self.downstream.abort()
            raise PeerGone  # it is there, but it has stopped reading
        if self.clock() >= budget.own_end_s:
            raise OwnTimeOver("The request was not answered in the time that its client gave it.")
        raise UpstreamFault(FaultKind.TIMEOUT, self._too_slow())

    async def _call(self) -> None:
        asked = self.asked
        body = asked.metered_body if self._added_usage else asked.body
        async with self.client.call(
            self.endpoint, asked.method, asked.path, headers=self.outgoing, body=body
        ) as response:
            if response.status // 100 != 2:
                raise await refusal_of(response, self.endpoint, added_usage=self._added_usage)
            refuse_unasked(response.headers, stream=asked.stream)
            if asked.stream:
                await self._pass_stream(response)
            else:
                await self._pass_plain(response)

    # -- a plain answer: whole, checked, then sent

    async def _pass_plain(self, response: UpstreamResponse) -> None:
        held = bytearray()
        chunks = response.chunks()
        async for chunk in chunks:
            held += chunk
            if len(held) > PLAIN_LIMIT_BYTES:
                break
        else:
            whole, self._plain_usage = self.asked.dialect.answer(bytes(held))
            if self.asked.named is not None:
                with suppress(InvalidRequest):  # of too many values: the endpoint's name stays
                    whole = edited(whole, renaming(whole, "model", self.asked.named))
            await self._begin(response, length=len(whole))
            await self._send(whole)
            self.delivered_at_s = self.clock()
            return
        if self.asked.dialect.translator() is not None:
            raise UpstreamFault(
                FaultKind.BAD_ANSWER, "The endpoint's answer is too large to be translated."
            )
        await self._begin(response)
        await self._send(bytes(held))
        del held
        async for chunk in chunks:
            await self._send(chunk)
        self.delivered_at_s = self.clock()

    async def _begin(self, response: UpstreamResponse, length: int | None = None) -> None:
        ours = {name for name, _ in self.own_headers}
        theirs = for_client(
            response.headers, ours=self._content_type(response, length), endpoint=self.endpoint
        )
        headers = tuple(header for header in theirs if header[0] not in ours)
        if length is not None:
            headers = (*headers, ("content-length", str(length)))
        self.committed = True
        self.on_begun()
        self.first_token_at_s = self.clock()
        head = Head(200, (*headers, *self.own_headers))
        await self._budget.on_the_clients_time(self.downstream.begin(head))

    def _content_type(self, response: UpstreamResponse, length: int | None) -> str | None:
        """What the answer is, where that is known better than from its endpoint."""
        dialect = self.asked.dialect
        if self.asked.stream:
            return None if dialect.translator() is None else EVENTS
        if length is None or not dialect.only_json:
            return None  # not looked through, or of more kinds than one
        return JSON if dialect.translator() is not None else json_unless_named(response.headers)

    async def _send(self, data: bytes) -> None:
        await self._budget.on_the_clients_time(self.downstream.send(data))

    # -- a stream: withheld until it says something, then passed on as it comes

    async def _pass_stream(self, response: UpstreamResponse) -> None:
        flow, chunks, broken = self._flow, response.chunks(), False
        flow.hides_usage = self._added_usage
        try:
            await self._pass_events(response, chunks)
        except UpstreamFault as fault:
            # Once every choice has its end, a connection that breaks has ended, and no more.
            broken = fault.kind is FaultKind.DISCONNECTED
            if not (broken and self.committed and flow.meter.complete):
                raise
        self._refuse_half_a_stream()
        if rest := flow.finish(broken=broken):
            await self._send(rest)
        self.delivered_at_s = self.clock()
        if flow.meter.done:
            self._budget.ended()
            await _drain(chunks)

    async def _pass_events(self, response: UpstreamResponse, chunks: AsyncIterator[bytes]) -> None:
        """All that comes, up to the end of the stream or an error in it."""
        flow, meter, budget = self._flow, self._flow.meter, self._budget
        withheld = bytearray()
        async for chunk in chunks:
            ready = flow.feed(chunk)
            if not self.committed:
                if meter.error is not None or (meter.done and not meter.begun):
                    break
                withheld += ready
                if not meter.begun and len(withheld) <= WITHHELD_LIMIT_BYTES:
                    continue
                ready = bytes(withheld)
                withheld.clear()
                await self._begin(response)
            if ready:
                await budget.on_the_clients_time(self.downstream.send(ready))
            if meter.done or meter.error is not None:
                break
            if flow.spoke:
                budget.heard()

    def _refuse_half_a_stream(self) -> None:
        """Raise UpstreamFault unless the stream that has ended was a whole one."""
        meter = self._flow.meter
        if meter.error is not None:
            raise UpstreamFault(FaultKind.BAD_ANSWER, f"The endpoint said: {meter.error}")
        if not (self.committed and meter.complete):
            when = "in the middle" if self.committed else "before it said anything"
            raise UpstreamFault(FaultKind.DISCONNECTED, f"The endpoint's stream ended {when}.")

    async def end_with(self, error: LbError) -> None:
        """After the commit point: end the answer with *error*, in the stream's own dialect.

        Never `[DONE]`: that would call it complete. Plain bodies are cut off, and so is an event
        of which a part has been sent: nothing that came after it could be read.
        """
        if self.asked.stream and not self._flow.inside_event:
            with trio.move_on_after(FAREWELL_LIMIT_S) as bound:
                await self.downstream.send(self.asked.dialect.error_event(error))
            if not bound.cancelled_caught:
                return
        self.downstream.abort()

    def _too_slow(self) -> str:
        if not self.asked.stream:
            return f"The endpoint did not answer within {self.patience.whole_s:g} s."
        if not self.committed:
            limit_s = self.patience.until_anything_s(stream=True)
            return f"The endpoint said nothing within {limit_s:g} s."
        return "The endpoint's stream stalled."


def as_error(fault: UpstreamFault | LbError) -> LbError:
    """What a client is told of *fault*, when there is nowhere else to go."""
    if isinstance(fault, LbError):
        return fault
    if fault.kind is FaultKind.TIMEOUT:
        return UpstreamTimeout(str(fault))
    return UpstreamError(str(fault))


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Let the body end by itself, so that its connection can be used again."""
    with trio.move_on_after(LINGER_S), suppress(UpstreamFault):  # nobody misses anything
        async for _ in chunks:
            return  # more after the end is no end
