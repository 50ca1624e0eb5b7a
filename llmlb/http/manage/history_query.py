"""Which requests of the history a query asks for, and where in them its page begins."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass

from llmlb.accounting import Outcome
from llmlb.errors import InvalidRequest
from llmlb.http.manage.query import instant_in, text_in, whole
from llmlb.store.columns import instant_of
from llmlb.store.history_rows import REQUEST_TYPES, api_of
from llmlb.store.history_search import HistorySearch, outcomes_of
from llmlb.store.history_ways import NEWEST, Place
from llmlb.types import Api

SIZES = (10, 25, 50, 100)
"""Requests on a page, as in the older product; whatever else is said is the first."""

MOST_SKIPPED = 10_000
"""Further on, only a cursor leads: it costs as little there as anywhere."""

_ENDPOINT_NAMES = ("endpoint_id", "agent_id", "node_id")
_LARGEST_NUMBER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """One page: so many requests, after a place and those that are skipped."""

    size: int
    number: int = 1
    skip: int = 0
    after: Place = NEWEST


def page_asked_for(query: Mapping[str, str]) -> HistoryPage:
    """What `cursor`, or `page` and `per_page`, or `limit` and `offset` say.

    Raises InvalidRequest.
    """
    said = query.get("per_page", "")
    size = int(said) if said in map(str, SIZES) else SIZES[0]
    size = whole(query, "limit", default=size, most=SIZES[-1])
    if "cursor" in query:
        return HistoryPage(size, after=place_at(query["cursor"]))
    number = whole(query, "page", default=1, most=MOST_SKIPPED)
    skip = whole(query, "offset", default=(number - 1) * size, most=MOST_SKIPPED, least=0)
    if skip > MOST_SKIPPED:
        raise InvalidRequest(
            f"No more than {MOST_SKIPPED} requests can be skipped: go on with 'cursor', which is "
            "the 'next_cursor' of the page before.",
            param="page",
        )
    return HistoryPage(size, number, skip)


def cursor_at(place: Place) -> str:
    """What leads to the requests after *place*."""
    return urlsafe_b64encode(f"{place.timestamp}~{place.sequence}".encode()).decode().rstrip("=")


def place_at(cursor: str) -> Place:
    """The place that *cursor* leads to. Raises InvalidRequest."""
    try:
        said = urlsafe_b64decode(f"{cursor}{'=' * (-len(cursor) % 4)}").decode()
        timestamp, _, number = said.partition("~")
        place = Place(timestamp, int(number))
    except ValueError:
        place = None
    if place is None or instant_of(place.timestamp) is None or place.sequence > _LARGEST_NUMBER:
        raise InvalidRequest("'cursor' must be the 'next_cursor' of another page.", param="cursor")
    return place


def search_asked_for(query: Mapping[str, str]) -> HistorySearch:
    """What else the query says. Raises InvalidRequest."""
    time_from, time_to = instant_in(query, "start_time"), instant_in(query, "end_time")
    if time_from is not None and time_to is not None and time_from > time_to:
        raise InvalidRequest("'start_time' must not be after 'end_time'.", param="start_time")
    endpoint = next((query[name] for name in _ENDPOINT_NAMES if query.get(name)), None)
    return HistorySearch(
        model_part=text_in(query, "model"),
        endpoint_id=endpoint,
        outcomes=_outcomes(query),
        error_code=query.get("error_code") or None,
        api_key_id=query.get("api_key_id") or None,
        client=query.get("client_ip") or None,
        request_id=query.get("request_id") or None,
        request_type=_api(query.get("request_type")),
        time_from=time_from,
        time_to=time_to,
        text=text_in(query, "q"),
    )


def _outcomes(query: Mapping[str, str]) -> tuple[Outcome, ...]:
    """Those that `status` and `outcome` stand for, together; none: all."""
    status, outcome = query.get("status") or None, query.get("outcome") or None
    if status not in (None, "success", "error"):
        raise InvalidRequest("'status' must be success or error.", param="status")
    if outcome is not None and outcome not in set(Outcome):
        known = ", ".join(Outcome)
        raise InvalidRequest(f"'outcome' must be one of {known}.", param="outcome")
    by_status = () if status is None else outcomes_of(success=status == "success")
    if outcome is None:
        return by_status
    if by_status and outcome not in by_status:
        raise InvalidRequest("'status' and 'outcome' exclude one another.", param="outcome")
    return (Outcome(outcome),)


def _api(said: str | None) -> Api | None:
    if not said:
        return None
    api = api_of(said)
    if api is None:
        known = ", ".join(REQUEST_TYPES.values())
        raise InvalidRequest(f"'request_type' must be one of {known}.", param="request_type")
    return api
