"""What an endpoint has logged, as it tells itself."""

from __future__ import annotations

from collections.abc import Callable

import trio
from quart import Blueprint, Response, jsonify, request

from llmlb.errors import (
    EndpointOffline,
    ProbeFailed,
    UnsupportedCapability,
    UpstreamError,
    UpstreamUnreachable,
)
from llmlb.house import House
from llmlb.http.engines.foreign import mapping
from llmlb.http.logs.redactor import Json, Redactor
from llmlb.http.manage.endpoints import known_endpoint
from llmlb.http.upstream.client import UpstreamClient
from llmlb.http.upstream.fetch import MIB, NoSuchRoute, fetch_json
from llmlb.http.upstream.quoting import without_secrets
from llmlb.types import Endpoint, Engine, Status

PATH = "/api/logs"
ANSWER_LIMIT_S = 10.0
ANSWER_LIMIT_BYTES = 2 * MIB

SHOWN, MOST_SHOWN = 200, 1000

IN_A_ROW = 10
"""So many entries are looked through before others have their turn."""

WITHOUT_LOGS = frozenset({Engine.OLLAMA, Engine.LLAMACPP, Engine.VLLM, Engine.LM_STUDIO})
"""Engines that are known to have no such route; the rest are asked."""


def endpoint_logs(
    house: Callable[[], House], client: Callable[[], UpstreamClient], redactor: Redactor
) -> Blueprint:
    """`/endpoints/{id}/logs`, to be registered under each management prefix."""
    routes = Blueprint("endpoint_logs", __name__)

    @routes.get("/endpoints/<endpoint_id>/logs")
    async def show_endpoint_log(endpoint_id: str) -> Response:
        endpoint = known_endpoint(house(), endpoint_id)
        limit = _clamped(request.args.get("limit"))
        told = await _ask(client(), endpoint, limit)
        return jsonify(await _shown(told, endpoint, limit, redactor))

    return routes


def _clamped(said: str | None) -> int:
    """As the older product takes it: what is too much or too little is the next best."""
    digits = (said or "").strip()
    if not (digits.isascii() and digits.lstrip("-").isdigit()):
        return SHOWN
    return 1 if digits.startswith("-") else min(max(int(digits[:9]), 1), MOST_SHOWN)


async def _ask(client: UpstreamClient, endpoint: Endpoint, limit: int) -> object:
    """Raises EndpointOffline, UnsupportedCapability, UpstreamError, UpstreamUnreachable."""
    if endpoint.status is Status.OFFLINE:
        raise EndpointOffline(f"'{endpoint.name}' is offline, so it cannot be asked for its log.")
    if endpoint.engine in WITHOUT_LOGS:
        raise UnsupportedCapability(
            f"'{endpoint.name}' runs {endpoint.engine}, which does not show its log over HTTP."
        )
    path = f"{PATH}?tail={limit}"
    try:
        fetched = await fetch_json(
            client,
            endpoint,
            "GET",
            path,
            timeout_s=ANSWER_LIMIT_S,
            limit_bytes=ANSWER_LIMIT_BYTES,
        )
    except NoSuchRoute:
        raise UnsupportedCapability(
            f"'{endpoint.name}' does not show its log over HTTP: it does not know {PATH}."
        ) from None
    except ProbeFailed as failure:
        error = UpstreamError if failure.answered else UpstreamUnreachable
        raise error(f"The log of '{endpoint.name}' could not be read: {failure}") from None
    return fetched.json


async def _shown(
    answered: object, endpoint: Endpoint, limit: int, redactor: Redactor
) -> dict[str, Json]:
    """What the endpoint has told, without secrets of ours. Raises UpstreamError."""
    told = mapping(answered)
    entries = told.get("entries")
    if not isinstance(entries, list) or not all(isinstance(e, (str, dict)) for e in entries):
        raise UpstreamError(f"'{endpoint.name}' does not tell its log in a way that is understood.")

    def hidden(value: object) -> Json:
        return redactor.value(value, lambda text: without_secrets(text, endpoint))

    newest: list[Json] = []
    for number, entry in enumerate(entries[-limit:], 1):
        # a line of text is an entry with nothing but its message
        newest.append(hidden(entry if isinstance(entry, dict) else {"message": entry}))
        if number % IN_A_ROW == 0:
            await trio.lowlevel.checkpoint()
    shown: dict[str, Json] = {"source": endpoint.name, "entries": newest}
    if isinstance(path := told.get("path"), str):
        shown["path"] = hidden(path)
    return shown
