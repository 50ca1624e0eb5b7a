"""The routes under /requests: why one of them went where it went."""

from __future__ import annotations

from collections.abc import Callable

from quart import Blueprint, Response, jsonify

from llmlb.accounts import Role
from llmlb.errors import NotFound
from llmlb.explaining import JsonObject, explanation
from llmlb.house import House
from llmlb.http.inbound import caller_at_hand
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
            return jsonify(_for_caller(explanation(record)))
        with reading(WHAT, REMEDY):
            row = await current.store.history.of_request(request_id)
        if row is None:
            raise NotFound(
                "No request of this id is remembered: it is the x-request-id of its answer."
            )
        return jsonify(_for_caller(explanation_json(row)))

    return routes


def _for_caller(told: JsonObject) -> JsonObject:
    """*told*, to viewers without what endpoints said: that may quote what somebody asked."""
    user = caller_at_hand().user
    if user is None or user.role is Role.ADMIN:
        return told
    attempts = [{**attempt, "reason": None} for attempt in told["attempts"]]
    return {**told, "error_message": None, "attempts": attempts}
