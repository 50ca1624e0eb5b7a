"""What an endpoint says of itself: whether it lives, its engine, its models, its device."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import trio

from llmlb.errors import ProbeFailed
from llmlb.http.engines import PROFILES, lmstudio, ollama
from llmlb.http.engines.device import PATHS, parse_device
from llmlb.http.engines.engine import EngineProfile
from llmlb.http.engines.inquiry import Inquiry
from llmlb.http.engines.listing import PATH, Listing, parse_models
from llmlb.http.engines.openai import plain_survey
from llmlb.http.engines.routes import native_apis
from llmlb.http.upstream.client import UpstreamClient
from llmlb.types import DeviceReport, Endpoint, Engine, Model, Survey

QUESTIONS_IN_A_ROW = 6
"""So many times `timeout_s` bounds all that a survey asks beyond /v1/models."""


_IN_MEMORY: Mapping[Engine | None, Callable[[Inquiry], Awaitable[frozenset[str] | None]]] = (
    MappingProxyType(
        {Engine.OLLAMA: ollama.models_in_memory, Engine.LM_STUDIO: lmstudio.models_in_memory}
    )
)
"""How those are asked that load a model when it is asked for."""


class HttpSurveyor:
    """Asks endpoints over HTTP. Each question is bounded by `timeout_s`, and so is each probe."""

    def __init__(self, client: UpstreamClient, *, timeout_s: float = 5.0) -> None:
        self._client = client
        self._timeout_s = timeout_s

    async def check(self, endpoint: Endpoint) -> tuple[str, ...]:
        """The ids of the models that *endpoint* lists now. Raises ProbeFailed."""
        listing = await self._listing(self._inquiry(endpoint))
        return tuple(listing.models)

    async def survey(self, endpoint: Endpoint) -> Survey:
        """Engine, models and capacity. Raises ProbeFailed only if the models cannot be listed."""
        inquiry = self._inquiry(endpoint)
        listing = await self._listing(inquiry)
        found: Survey | None = None
        with trio.move_on_after(QUESTIONS_IN_A_ROW * self._timeout_s) as scope:
            for profile in _most_likely_first(endpoint.engine, listing):
                found = await profile.survey(listing, inquiry)
                if found is not None:
                    break
        if found is None:
            found = plain_survey(listing)
        if scope.cancelled_caught or inquiry.unanswered:
            found = _with_what_was_known(found, endpoint)
        apis = await native_apis(self._client, endpoint, timeout_s=self._timeout_s)
        return replace(found, native_apis=apis)

    async def device(self, endpoint: Endpoint) -> DeviceReport:
        """What *endpoint* computes on, or a note why it does not say. Raises nothing."""
        inquiry = self._inquiry(endpoint)
        notes: list[str] = []
        for path in PATHS:
            try:
                report = parse_device((await inquiry.fetch("GET", path)).json)
            except ProbeFailed as failure:
                notes.append(f"{path}: {str(failure).removesuffix('.')}")
                continue
            if report.info is not None:
                return report
            notes.append(f"{path}: {report.note}")
        return DeviceReport(note="; ".join(notes))

    async def in_memory(self, endpoint: Endpoint) -> frozenset[str] | None:
        """The models that *endpoint* has in memory, if it loads on demand and tells."""
        ask = _IN_MEMORY.get(endpoint.engine)
        return None if ask is None else await ask(self._inquiry(endpoint))

    def _inquiry(self, endpoint: Endpoint) -> Inquiry:
        return Inquiry(self._client, endpoint, self._timeout_s)

    async def _listing(self, inquiry: Inquiry) -> Listing:
        fetched = await inquiry.fetch("GET", PATH)
        return Listing(parse_models(fetched.json), fetched.headers.get("server", "").lower())


def _most_likely_first(known: Engine | None, listing: Listing) -> tuple[EngineProfile, ...]:
    """What it was last time, then what the listing shows, then all that need to be asked.

    Plain OpenAI always comes last: it is what remains, and may have been a mistake.
    """
    remembered = [p for p in PROFILES if p.engine is known and known is not Engine.OPENAI]
    evident = [p for p in PROFILES if p.evident(listing)]
    return tuple(dict.fromkeys([*remembered, *evident, *PROFILES]))


def _with_what_was_known(found: Survey, endpoint: Endpoint) -> Survey:
    """*found*, where some questions were not answered, completed by the survey before it.

    A busy endpoint must not become another engine for a while, or forget about its models.
    """
    if endpoint.engine not in (None, found.engine) and found.engine is not Engine.OPENAI:
        return found
    before = {model.id: model for model in endpoint.models}

    def completed(model: Model) -> Model:
        known = before.get(model.id)
        if known is None:
            return model
        if model.max_tokens is None:
            return known
        if model.perhaps:  # of its capabilities only the name was known this time
            return replace(model, capabilities=known.capabilities, perhaps=known.perhaps)
        return model

    return Survey(
        endpoint.engine or found.engine,
        tuple(completed(model) for model in found.models),
        found.engine_concurrency or endpoint.engine_concurrency,
    )
