"""The older product's routes that are not built yet, so that its scripts get a clear answer."""

from __future__ import annotations

from typing import NoReturn

from quart import Blueprint, request

from llmlb.errors import NotImplementedYet

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

RULES = ("/models", "/models/<path:rest>", "/catalog/<path:rest>", "/metrics/cloud")


def not_built_yet() -> Blueprint:
    """Routes that answer 501, to be registered under each management prefix."""
    routes = Blueprint("later", __name__)

    async def answer(**_: str) -> NoReturn:
        raise NotImplementedYet(f"{request.path} is not built yet.")

    for rule in RULES:
        routes.add_url_rule(rule, rule.replace(".", "_"), answer, methods=METHODS)
    return routes
