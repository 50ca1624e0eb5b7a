"""What is said of clients and of the dashboard's settings: routes, and shapes of answers."""

from __future__ import annotations

from datetime import datetime

from llmlb.errors import Conflict, InvalidJson, MissingField, StoreUnavailable
from llmlb.http.manage.clients import PER_PAGE
from llmlb.http.manage.dashboard_settings import KEY, SettingForm
from llmlb.http.manage.query import LAST_PAGE, MOST_PER_PAGE
from llmlb.http.openapi.history import RequestStatusShown
from llmlb.http.openapi.management import operator
from llmlb.http.openapi.route import Answer, JsonSchema, Parameter, Route, Shape, json_content
from llmlb.http.openapi.shown import Shown
from llmlb.store.text_search import MOST_SEARCHED_CHARS


class ClientShown(Shown):
    """An address of IPv4, or a /64 of IPv6."""

    ip: str
    request_count: int
    """In the last 24 hours."""
    last_seen: datetime
    is_alert: bool
    """As many in the last hour as `ip_alert_threshold` says, or more."""
    api_key_count: int


class ClientListShown(Shown):
    """Who asked most often, on one page."""

    rankings: list[ClientShown]
    total_count: int
    """On all pages."""
    page: int
    per_page: int


class ClientHourShown(Shown):
    """How many clients there were in one hour."""

    hour: datetime
    unique_ips: int


class ModelShareShown(Shown):
    """How often one model was asked for."""

    model: str
    request_count: int
    percentage: float
    """Of all requests, to one decimal."""


class HeatShown(Shown):
    """Requests in one hour of one day of the week."""

    day_of_week: int
    """0 is Sunday."""
    hour: int
    """In UTC."""
    count: int


class RecentRequestShown(Shown):
    """One of the latest requests of a client."""

    id: str
    timestamp: datetime
    model: str
    status: RequestStatusShown
    duration_ms: float


class HourOfDayShown(Shown):
    """Requests by the hour of the day."""

    hour: int
    """In UTC."""
    count: int


class ClientDetailShown(Shown):
    """What one client did in the last 24 hours."""

    total_requests: int
    first_seen: datetime | None
    last_seen: datetime | None
    recent_requests: list[RecentRequestShown]
    model_distribution: list[ModelShareShown]
    hourly_pattern: list[HourOfDayShown]


class KeyUseShown(Shown):
    """How often a client came with one API key."""

    api_key_id: str
    name: str | None
    """Null: the key is gone."""
    request_count: int


class SettingShown(Shown):
    """A setting of the dashboard."""

    key: str
    value: str
    """Nothing, if it is not set."""


_PART: JsonSchema = {"type": "string", "maxLength": MOST_SEARCHED_CHARS}
_ONE = Parameter("ip", "The client.", {"type": "string", "minLength": 1}, "path", "10.0.0.7")
_KEY = Parameter(
    "key", "Its name.", {"type": "string", "pattern": f"^{KEY}$"}, "path", "ip_alert_threshold"
)
_ANY_KEY = Parameter(
    "key", "Its name; one that was never set is empty.", {"type": "string"}, "path"
)


def _listed(shape: type[Shown]) -> JsonSchema:
    return {"type": "array", "items": shape}


def _says(shape: Shape, says: str) -> Answer:
    return Answer(200, says, (json_content(shape),))


def _number(name: str, says: str, most: int, default: int) -> Parameter:
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return Parameter(name, says, schema)


CLIENTS: tuple[Route, ...] = (
    operator(
        "GET",
        "/dashboard/clients",
        "list_clients",
        "Who asked most often in the last 24 hours",
        _says(ClientListShown, "One page of them."),
        parameters=(
            Parameter("ip", "How the address begins.", _PART),
            _number("page", "From 1 on.", LAST_PAGE, 1),
            _number("per_page", "Clients on a page.", MOST_PER_PAGE, PER_PAGE),
        ),
        errors=(StoreUnavailable,),
    ),
    operator(
        "GET",
        "/dashboard/clients/timeline",
        "show_client_timeline",
        "How many clients there were in each of the last 24 hours",
        _says(_listed(ClientHourShown), "The oldest first, without the current one."),
        errors=(StoreUnavailable,),
    ),
    operator(
        "GET",
        "/dashboard/clients/models",
        "list_models_of_clients",
        "Which models were asked for in the last 24 hours",
        _says(_listed(ModelShareShown), "The most frequent first."),
        errors=(StoreUnavailable,),
    ),
    operator(
        "GET",
        "/dashboard/clients/heatmap",
        "show_client_heatmap",
        "When requests came, by day of the week and hour, over seven days",
        _says(_listed(HeatShown), "168 cells, Sunday first."),
        parameters=(Parameter("ip", "Of one client alone.", {"type": "string"}),),
        errors=(StoreUnavailable,),
    ),
    operator(
        "GET",
        "/dashboard/clients/{ip}/detail",
        "show_client",
        "What one client did in the last 24 hours",
        _says(ClientDetailShown, "Also of one that did nothing."),
        parameters=(_ONE,),
        errors=(StoreUnavailable,),
    ),
    operator(
        "GET",
        "/dashboard/clients/{ip}/api-keys",
        "list_keys_of_client",
        "With which API keys one client came in the last 24 hours",
        _says(_listed(KeyUseShown), "The most frequent first."),
        parameters=(_ONE,),
        errors=(StoreUnavailable,),
    ),
    operator(
        "GET",
        "/dashboard/settings/{key}",
        "show_setting",
        "A setting of the dashboard",
        _says(SettingShown, "The setting."),
        parameters=(_ANY_KEY,),
        errors=(StoreUnavailable,),
    ),
    operator(
        "PUT",
        "/dashboard/settings/{key}",
        "edit_setting",
        "Set a setting of the dashboard",
        _says(SettingShown, "As it is now."),
        parameters=(_KEY,),
        body=json_content(SettingForm, {"value": "200"}),
        errors=(InvalidJson, MissingField, Conflict, StoreUnavailable),
    ),
)
