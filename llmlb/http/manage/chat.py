"""A chat with one chosen endpoint, for trying it out."""

from __future__ import annotations

from collections.abc import Callable

from quart import Blueprint
from quart.typing import ResponseReturnValue

from llmlb.http.asgi import ExchangeResponse
from llmlb.http.exchange import Exchange
from llmlb.http.inbound import asked_for
from llmlb.http.paths import PATHS
from llmlb.types import Api, EndpointId


def chosen_endpoint(exchange: Callable[[], Exchange]) -> Blueprint:
    """`/endpoints/{id}/chat/completions`: no other endpoint answers in its place."""
    routes = Blueprint("chosen_endpoint", __name__)

    @routes.post("/endpoints/<endpoint_id>/chat/completions")
    async def chat(endpoint_id: str) -> ResponseReturnValue:
        core, only = exchange(), EndpointId(endpoint_id.lower())
        asked = asked_for(PATHS[Api.CHAT_COMPLETIONS])
        return ExchangeResponse(
            lambda downstream: core.serve(Api.CHAT_COMPLETIONS, asked, downstream, only=only)
        )

    return routes
