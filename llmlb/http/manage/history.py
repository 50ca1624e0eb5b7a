"""The routes under /dashboard/request-responses: what was asked, and what became of it."""

from __future__ import annotations

from collections.abc import Callable

from quart import Blueprint, Response, g, jsonify, request

from llmlb.errors import InvalidRequest, NotFound
from llmlb.house import House
from llmlb.http.asgi import ExchangeResponse
from llmlb.http.dressed import Dressed
from llmlb.http.manage.history_export import FORMATS, REMEDY, WHAT, Export
from llmlb.http.manage.history_json import record_json, whole_record_json
from llmlb.http.manage.history_query import cursor_at, page_asked_for, search_asked_for
from llmlb.http.manage.query import reading
from llmlb.http.response_policy import ResponsePolicy


def request_history(
    house: Callable[[], House],
    policy: Callable[[], ResponsePolicy] = ResponsePolicy,
) -> Blueprint:
    """The routes of the history, to be registered under each management prefix."""
    routes, history = Blueprint("history", __name__), "/dashboard/request-responses"

    @routes.get(history)
    async def list_requests() -> Response:
        store = house().store.history
        wanted, page = search_asked_for(request.args), page_asked_for(request.args)
        with reading(WHAT, REMEDY):
            found = await store.search(wanted, page.size, after=page.after, skip=page.skip)
            count = await store.count(wanted)
        return jsonify(
            records=[record_json(row) for row in found.rows],
            total_count=count.requests,
            total_is_exact=count.exact,
            page=page.number,
            per_page=page.size,
            next_cursor=None if found.next is None else cursor_at(found.next),
        )

    @routes.get(f"{history}/<record_id>")
    async def show_request(record_id: str) -> Response:
        with reading(WHAT, REMEDY):
            row = await house().store.history.find(record_id)
        if row is None:
            raise NotFound("There is no request with this id in the history.")
        return jsonify(whole_record_json(row))

    @routes.get(f"{history}/export")
    async def export_requests() -> Response:
        said = request.args.get("format", "csv")
        if said not in FORMATS:
            raise InvalidRequest(f"'format' must be one of {', '.join(FORMATS)}.", param="format")
        wanted = search_asked_for(request.args)
        export = Export(house().store.history, wanted, FORMATS[said], g.request_id)
        if request.method == "HEAD":
            return Response(b"", 200, export.headers)
        first = await export.page()  # what is wrong with it is told in place of the export
        return ExchangeResponse(lambda client: export.run(first, Dressed(client, policy())))

    return routes
