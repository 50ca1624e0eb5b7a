"""The routes under /requests: why one of them went where it went."""

from __future__ import annotations

from collections.abc import Callable

from quart import Blueprint, Response, jsonify

from llmlb.errors import NotFound
from llmlb.explaining import explanation
from llmlb.house import House
from llmlb.http.manage.history_export import REMEDY, WHAT
from llmlb.http.manage.history_json import explanation_json
from llmlb.http.manage.query import reading


def decisions(house: Callable[[], House]) -> Blueprint:
    """`/requests/{id}/decision`, to be registered under each management prefix."""
    routes = Blueprint("decisions", __name__)

    @routes.get("/requests/<request_id>/decision")
    async def show_decision(request_id: str) -> Response:
        current = house()
        record = current.recent.find(request_id)
        if record is not None:
            return jsonify(explanation(record))
        with reading(WHAT, REMEDY):
            row = await current.store.history.of_request(request_id)
        if row is None:
            raise NotFound(
                "No request of this id is remembered: it is the x-request-id of its answer."
            )
        return jsonify(explanation_json(row))

    return routes
