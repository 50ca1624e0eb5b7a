"""One inference request from its arrival to its end: parse, admit, relay, account."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog
import trio
from structlog.contextvars import bind_contextvars, bound_contextvars, reset_contextvars

from llmlb.actors.mailbox import ActorGone
from llmlb.errors import (
    InternalError,
    LbError,
    NotFound,
)
from llmlb.house import House
from llmlb.http.access.gate import Gate, Knock
from llmlb.http.access.limits import Limits
from llmlb.http.access.models import may_use, refuse_model, refuse_second_model
from llmlb.http.access.needs import CHOSEN, INFERENCE, Need
from llmlb.http.account import Account
from llmlb.http.attempts import Attempts
from llmlb.http.counted import Counted
from llmlb.http.cutoff import CutOff
from llmlb.http.dialect import Dialect
from llmlb.http.downstream import Asked, Downstream, Inbound, PeerGone, size_of
from llmlb.http.dressed import Dressed
from llmlb.http.farewell import bid_farewell
from llmlb.http.inference import InferenceRequest
from llmlb.http.intake.form import Form
from llmlb.http.keepalive import KeptAlive
from llmlb.http.keeping import LOOKED_AT_BYTES
from llmlb.http.openai.request import JsonRequest
from llmlb.http.openai.stored import endpoint_for
from llmlb.http.policy import own_time_s, refuse_control_characters, refuse_loops
from llmlb.http.reading import dialect_of, read_request
from llmlb.http.stored import relay_stored
from llmlb.http.tracing.trace import UNTRACED, Tracing
from llmlb.http.trail import Trail
from llmlb.http.trying import Trying
from llmlb.http.turned_away import shutting_down
from llmlb.http.upstream.client import UpstreamClient
from llmlb.http.vision.gate import ImageGate
from llmlb.http.vision.part import ImagePart
from llmlb.http.ways import Way, ways_for
from llmlb.types import Api, Capability, EndpointId

log = structlog.get_logger()

_WITH_IMAGES = frozenset({Api.CHAT_COMPLETIONS, Api.RESPONSES, Api.MESSAGES})

_EYES = frozenset({Capability.IMAGE_UNDERSTANDING})

_EVERYWHERE = frozenset({Api.CHAT_COMPLETIONS, Api.COMPLETIONS, Api.EMBEDDINGS, Api.MESSAGES})
"""Routes whose 404 means the model; elsewhere it may be the route that an engine lacks."""


@dataclass(slots=True)
class Exchange:
    """The core of every inference route, the same for every face.

    Whatever it holds (lease, upstream call) is held in the scope of `serve`, so that it is
    given back however that ends.
    """

    house: House
    client: UpstreamClient
    images: ImageGate
    gate: Gate
    instance_id: str
    cut_off: CutOff = field(default_factory=CutOff)
    """Ends what outlasts the drain: with an error event where content has been sent."""
    tracing: Tracing = UNTRACED
    _trying: Trying = field(init=False)
    limits: Limits = field(init=False)

    def __post_init__(self) -> None:
        attempts = Attempts(self.house, self.client, self.cut_off)
        self._trying = Trying(self.house, attempts, self.cut_off)
        self.limits = Limits(self.house.world.clock)

    async def serve(
        self, api: Api, asked: Asked, downstream: Downstream, *, only: EndpointId | None = None
    ) -> None:
        """Answer *asked*, if whoever asks may, from the endpoint *only* if one is named.

        Raises nothing but what cancels the task, and PeerGone.
        """

        async def work(inbound: Inbound, client: KeptAlive, trail: Trail) -> None:
            if not (only is None or only in self.house.registry.catalog.endpoints):
                raise NotFound("There is no endpoint with this id.")
            await self._serve(api, inbound, client, trail, only)

        need = INFERENCE if only is None else CHOSEN
        keeps_bytes = LOOKED_AT_BYTES if self._keeps_bodies else 0
        trail = Trail(trace=self.tracing.begin(asked))
        sent = Counted(downstream, keeps_bytes=keeps_bytes)
        account = Account(self.house, api, asked, sent, trail)
        bound = bind_contextvars(request_id=asked.request_id)
        try:
            await self._answering(work, asked, sent, trail, dialect=dialect_of(api), need=need)
            account.finished = True
        finally:
            account.close()
            reset_contextvars(**bound)

    @property
    def _keeps_bodies(self) -> bool:
        """Whether what is asked and answered goes into the history."""
        return self.house.settings.history_bodies == "on"

    async def serve_stored(self, response_id: str, asked: Asked, downstream: Downstream) -> None:
        """Answer a question about a response that an endpoint keeps. Raises like `serve`."""

        async def work(inbound: Inbound, client: KeptAlive, trail: Trail) -> None:
            if not self.house.open:
                raise shutting_down()
            await relay_stored(
                response_id,
                inbound,
                client,
                house=self.house,
                client=self.client,
                cut_off=self.cut_off,
                trail=trail,
            )

        dialect = dialect_of(Api.RESPONSES)
        with bound_contextvars(request_id=asked.request_id):
            await self._answering(work, asked, downstream, Trail(), dialect=dialect, need=INFERENCE)

    async def _answering(
        self,
        work: Callable[[Inbound, KeptAlive, Trail], Awaitable[None]],
        asked: Asked,
        downstream: Downstream,
        trail: Trail,
        *,
        dialect: Dialect,
        need: Need,
    ) -> None:
        """Do *work* for whoever may have it done; what goes wrong becomes the answer."""
        own_path = asked.asked_path or asked.path
        downstream = Dressed(downstream, self.gate.policy, own_path, asked.headers.get("origin"))
        client = KeptAlive(downstream, (("x-request-id", asked.request_id),))
        try:
            trail.caller = self.gate.admit(need, Knock.of(asked))
            refuse_loops(asked.headers, self.instance_id)
            refuse_control_characters(asked.headers)
            with self.limits.enter(trail.caller.key) as trail.ticket:
                inbound = await asked.inbound()
                trail.request_bytes = size_of(inbound.body)
                if self._keeps_bodies:
                    trail.body = inbound.body
                await work(inbound, client, trail)
        except LbError as error:
            refusal = error
        except PeerGone:
            raise
        except ActorGone:
            refusal = shutting_down()
        except Exception as error:  # a fault of ours is one client's 500, not the end of the server
            log.exception("an exchange failed", error=repr(error))
            refusal = InternalError(
                f"Something went wrong inside the balancer (request id {asked.request_id})."
            )
        else:
            return
        trail.refusal = refusal
        await bid_farewell(refusal, dialect, asked.request_id, trail, client)

    async def _serve(
        self,
        api: Api,
        inbound: Inbound,
        client: KeptAlive,
        trail: Trail,
        only: EndpointId | None,
    ) -> None:
        trail.ends_at_s = trio.current_time() + own_time_s(inbound.headers)
        request = read_request(api, inbound.path, inbound.body)
        trail.model = trail.asked_model = request.model
        trail.stream = request.stream
        refuse_model(trail.caller, request.model, self.house.registry.catalog)
        refuse_second_model(trail.caller, inbound.body)
        trail.route = "" if api in _EVERYWHERE else inbound.path
        if not self.house.open:
            raise shutting_down()
        if (keeper := self._keeper_of(request, trail.caller.owner)) is not None:
            only, trail.continues = keeper, True
        trail.only = only

        async def answer() -> None:
            await self._settle_images(request, inbound, client, trail)

        every_s = self.house.settings.stream_keepalive_s
        if request.stream and every_s > 0:
            await client.while_waiting(every_s, answer)
        else:
            await answer()

    async def _settle_images(
        self, request: InferenceRequest, inbound: Inbound, downstream: Downstream, trail: Trail
    ) -> None:
        """See to the images of *request*, if it may hold any, and then to its answer."""
        api, sent = request.api, inbound.body
        images: Sequence[ImagePart] = ()
        if isinstance(sent, bytes) and api in _WITH_IMAGES:
            images = await self.images.look(sent)
        if isinstance(sent, Form) or not images:
            await self._trying.take(self._ways(request, trail), request, inbound, downstream, trail)
            return
        ways = self._ways(request, trail, _EYES)
        async with self.images.settled(sent, images) as body:
            if body is not sent:
                request = read_request(api, inbound.path, body)
            await self._trying.take(ways, request, inbound, downstream, trail)

    def _keeper_of(self, request: InferenceRequest, owner: str | None) -> EndpointId | None:
        """The endpoint that keeps what *request* goes on from. Raises what `endpoint_for` does."""
        if not isinstance(request, JsonRequest):
            return None
        return endpoint_for(
            request.goes_on_from,
            owner=owner,
            whereabouts=self.house.responses.whereabouts,
            catalog=self.house.registry.catalog,
        )

    def _ways(
        self,
        request: InferenceRequest,
        trail: Trail,
        images: frozenset[Capability] = frozenset(),
    ) -> list[Way]:
        """The models to ask for, in order. Raises UnsupportedCapability and the like."""
        catalog = self.house.registry.catalog
        fallbacks = [
            name
            for name in self.house.fallbacks_of(request.model)
            if may_use(trail.caller, name, catalog)
        ]
        names = (request.model,) if trail.only else (request.model, *fallbacks)
        return ways_for(request, names, catalog, needs=request.needs | images, only=trail.only)
