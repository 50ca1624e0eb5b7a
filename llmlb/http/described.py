"""`/openapi.json`: what is said of the API, made when somebody asks."""

from __future__ import annotations

from quart import Blueprint, Response

from llmlb.store.database import ThreadRunner


def described(run_in_thread: ThreadRunner) -> Blueprint:
    """The document, which is made in a thread: with all its schemas that takes a moment, once.

    Nothing else needs them, and they would be a fifth of what a start takes.
    """
    routes = Blueprint("described", __name__)

    @routes.get("/openapi.json")
    async def openapi() -> Response:
        return Response(await run_in_thread(_made), content_type="application/json")

    return routes


def _made() -> bytes:
    from llmlb.http.openapi.document import document_json  # noqa: PLC0415 - see above

    return document_json()
