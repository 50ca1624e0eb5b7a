"""The inference routes and the model list under /v1."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from urllib.parse import quote

from quart import Blueprint, request
from quart.typing import ResponseReturnValue

from llmlb.errors import ModelNotFound
from llmlb.house import House
from llmlb.http.access.models import may_use
from llmlb.http.asgi import ExchangeResponse
from llmlb.http.exchange import Exchange
from llmlb.http.inbound import asked_for, caller_at_hand
from llmlb.http.openai.models import model_item, model_list
from llmlb.http.paths import PATHS
from llmlb.types import Api

STORED = (
    ("/v1/responses/<response_id>", ("GET", "DELETE")),
    ("/v1/responses/<response_id>/cancel", ("POST",)),
    ("/v1/responses/<response_id>/input_items", ("GET",)),
)
"""Questions about a response that an endpoint keeps."""

_QUERY = "%/:@!$&'()*+,;=~?"
"""What may stand in a query as it is; the rest is percent-encoded."""


def inference(exchange: Callable[[], Exchange], house: Callable[[], House]) -> Blueprint:
    """Everything that an OpenAI client calls."""
    routes = Blueprint("inference", __name__)

    def add(api: Api, path: str) -> None:
        async def view() -> ResponseReturnValue:
            core, asked = exchange(), asked_for(path)
            return ExchangeResponse(lambda downstream: core.serve(api, asked, downstream))

        routes.add_url_rule(path, endpoint=api.value, view_func=view, methods=["POST"])

    for api, path in PATHS.items():
        add(api, path)

    async def stored(response_id: str) -> ResponseReturnValue:
        core, asked = exchange(), asked_for(_path_with_query())
        return ExchangeResponse(
            lambda downstream: core.serve_stored(response_id, asked, downstream)
        )

    for path, methods in STORED:
        routes.add_url_rule(path, endpoint=path, view_func=stored, methods=methods)

    @routes.get("/v1/models")
    async def models() -> ResponseReturnValue:
        catalog = house().registry.catalog
        allowed = partial(may_use, caller_at_hand(), catalog=catalog)
        return {"object": "list", "data": model_list(catalog, allowed)}

    @routes.get("/v1/models/<path:name>")
    async def model(name: str) -> ResponseReturnValue:
        catalog = house().registry.catalog
        allowed = partial(may_use, caller_at_hand(), catalog=catalog)
        if (item := model_item(catalog, name, allowed)) is None:
            raise ModelNotFound(name)
        return item

    return routes


def _path_with_query() -> str:
    """The request's target as it came, in ASCII."""
    path: str = quote(request.path, safe="/:@!$&'()*+,;=~")
    query = request.query_string.decode("latin-1")
    return f"{path}?{quote(query, safe=_QUERY)}" if query else path
