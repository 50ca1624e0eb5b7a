"""The inference routes and the model list under /v1."""

from __future__ import annotations

from collections.abc import Callable

from quart import Blueprint, g, request
from quart.typing import ResponseReturnValue

from llmlb.errors import ModelNotFound
from llmlb.house import House
from llmlb.http.asgi import ExchangeResponse
from llmlb.http.downstream import Downstream, Inbound
from llmlb.http.exchange import Exchange
from llmlb.http.hooks import inbound_headers
from llmlb.http.openai.models import model_item, model_list
from llmlb.types import Api

PATHS = {
    Api.CHAT_COMPLETIONS: "/v1/chat/completions",
    Api.COMPLETIONS: "/v1/completions",
    Api.EMBEDDINGS: "/v1/embeddings",
    Api.RESPONSES: "/v1/responses",
    Api.RERANK: "/v1/rerank",
    Api.MESSAGES: "/v1/messages",
    Api.IMAGE_GENERATIONS: "/v1/images/generations",
    Api.SPEECH: "/v1/audio/speech",
}


def inference(exchange: Callable[[], Exchange], house: Callable[[], House]) -> Blueprint:
    """Everything that an OpenAI client calls."""
    routes = Blueprint("inference", __name__)

    def add(api: Api, path: str) -> None:
        async def view() -> ResponseReturnValue:
            core = exchange()
            inbound = Inbound(
                method=request.method,
                path=path,
                headers=inbound_headers(),
                body=await request.get_data(cache=False, as_text=False, parse_form_data=False),
                request_id=g.request_id,
            )

            async def run(downstream: Downstream) -> None:
                await core.serve(api, inbound, downstream)

            return ExchangeResponse(run)

        routes.add_url_rule(path, endpoint=api.value, view_func=view, methods=["POST"])

    for api, path in PATHS.items():
        add(api, path)

    @routes.get("/v1/models")
    async def models() -> ResponseReturnValue:
        return {"object": "list", "data": model_list(house().registry.catalog)}

    @routes.get("/v1/models/<path:name>")
    async def model(name: str) -> ResponseReturnValue:
        item = model_item(house().registry.catalog, name)
        if item is None:
            raise ModelNotFound(name)
        return item

    return routes
