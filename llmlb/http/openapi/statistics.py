"""What is said of the routes that tell what was counted and measured."""

from __future__ import annotations

from typing import Any

from llmlb.errors import StoreUnavailable
from llmlb.http.manage.endpoint_statistics import DAYS, MOST_DAYS
from llmlb.http.manage.query import LAST_PAGE, MOST_PER_PAGE
from llmlb.http.manage.usage import (
    GROUPS,
    MONTHS,
    MOST_ASKED_CHARS,
    MOST_MONTHS,
    SPEED_DAYS,
    TOKEN_DAYS,
)
from llmlb.http.openapi.management import number, operator
from llmlb.http.openapi.route import Answer, JsonSchema, Parameter, Route, json_content
from llmlb.http.openapi.shown import EndpointShown, ModelListShown
from llmlb.http.openapi.statistics_shown import (
    DashboardStatsShown,
    DayShown,
    LatencyStatsShown,
    MetricsShown,
    MinuteShown,
    ModelStatsShown,
    ModelTpsShown,
    OverviewShown,
    TokenStatsShown,
    UsageDayShown,
    UsageMonthShown,
)
from llmlb.store.sums import MOST_GROUPS

_NAME: JsonSchema = {"type": "string", "maxLength": MOST_ASKED_CHARS}
_NARROWED = (
    Parameter("model", "Only this model.", _NAME),
    Parameter("endpoint_id", "Only this endpoint.", _NAME),
)
_USED = (
    *_NARROWED,
    Parameter("api_key_id", "Only this key.", _NAME),
    Parameter("group_by", "Tell them apart by this.", {"type": "string", "enum": [*GROUPS]}),
)
_PAGED = (
    number("page", "From 1 on.", LAST_PAGE, 1),
    number("per_page", "Of them on a page.", MOST_PER_PAGE, MOST_PER_PAGE),
)
_BOUNDED = f"At most {MOST_GROUPS:,}, those of the most requests."
_LATEST = f"The latest first, {MOST_GROUPS:,} at most. Days are those of UTC."
_OF_REQUESTS = (
    "Each request of a client counts once, also if it was refused or tried twice. Where it failed "
    "over, it counts under the endpoint that was asked last, and the tokens under those that made "
    "them. Days are those of UTC."
)
_OF_ATTEMPTS = "What counts are attempts: a request that failed over is two, a refused one none."


def _get(
    path: str,
    name: str,
    summary: str,
    shape: Any,  # noqa: ANN401 - see Shape
    answer: str,
    **more: Any,  # noqa: ANN401 - see operator
) -> Route:
    return operator("GET", path, name, summary, Answer(200, answer, (json_content(shape),)), **more)


def _list(shape: type) -> JsonSchema:
    return {"type": "array", "items": shape}


_READS = (StoreUnavailable,)

STATISTICS: tuple[Route, ...] = (
    _get(
        "/endpoints/{endpoint_id}/today-stats",
        "endpoint_today",
        "What an endpoint has done today",
        DayShown,
        "Today of UTC.",
        says=_OF_ATTEMPTS,
        errors=_READS,
    ),
    _get(
        "/endpoints/{endpoint_id}/daily-stats",
        "endpoint_days",
        "What an endpoint has done, day by day",
        _list(DayShown),
        "The days on which there was something, the earliest first.",
        says=_OF_ATTEMPTS,
        parameters=(number("days", "So many, with today.", MOST_DAYS, DAYS),),
        errors=_READS,
    ),
    _get(
        "/endpoints/{endpoint_id}/model-stats",
        "endpoint_models",
        "What the models of an endpoint have done",
        _list(ModelStatsShown),
        _BOUNDED,
        says=_OF_ATTEMPTS,
        errors=_READS,
    ),
    _get(
        "/endpoints/{endpoint_id}/model-tps",
        "endpoint_model_tps",
        "How fast the models of an endpoint are, on the whole",
        _list(ModelTpsShown),
        _BOUNDED,
        says=_OF_ATTEMPTS,
        errors=_READS,
    ),
    _get(
        "/dashboard/endpoints",
        "dashboard_endpoints",
        "All endpoints, without the list around them",
        _list(EndpointShown),
        "One page of them, the newest first.",
        parameters=_PAGED,
    ),
    _get(
        "/dashboard/models",
        "dashboard_models",
        "All models of all endpoints, also of those that are off",
        ModelListShown,
        "One page of them, in the order of their names.",
        parameters=_PAGED,
    ),
    _get(
        "/dashboard/stats",
        "dashboard_stats",
        "Endpoints as they are, and all requests there ever were",
        DashboardStatsShown,
        "As of now.",
        says=_OF_REQUESTS,
    ),
    _get(
        "/dashboard/request-history",
        "dashboard_history",
        "How the requests of the last hour ended",
        _list(MinuteShown),
        "60 minutes, the oldest first; the last one goes on.",
        says=_OF_REQUESTS,
    ),
    _get(
        "/dashboard/overview",
        "dashboard_overview",
        "All that a dashboard begins with",
        OverviewShown,
        "Each part as on its own route.",
        parameters=_PAGED,
    ),
    _get(
        "/dashboard/metrics/{endpoint_id}",
        "dashboard_metrics",
        "How an endpoint does, and how fast its last answers were",
        _list(MetricsShown),
        "One entry.",
    ),
    _get(
        "/dashboard/stats/tokens",
        "token_stats",
        "Tokens and requests since the first day",
        TokenStatsShown,
        f"The sum, and up to {MOST_GROUPS:,} groups of it, if they are asked for.",
        says=_OF_REQUESTS,
        parameters=_USED,
        errors=_READS,
    ),
    _get(
        "/dashboard/stats/tokens/daily",
        "token_stats_daily",
        "Tokens and requests, day by day",
        _list(UsageDayShown),
        _LATEST,
        says=_OF_REQUESTS,
        parameters=(number("days", "So many, with today.", MOST_DAYS, TOKEN_DAYS), *_USED),
        errors=_READS,
    ),
    _get(
        "/dashboard/stats/tokens/monthly",
        "token_stats_monthly",
        "Tokens and requests, month by month",
        _list(UsageMonthShown),
        _LATEST,
        says=_OF_REQUESTS,
        parameters=(number("months", "So many, with this one.", MOST_MONTHS, MONTHS), *_USED),
        errors=_READS,
    ),
    _get(
        "/dashboard/model-stats",
        "model_stats",
        "What the models of all endpoints have done",
        _list(ModelStatsShown),
        _BOUNDED,
        says=_OF_ATTEMPTS,
        errors=_READS,
    ),
    _get(
        "/dashboard/stats/latency",
        "latency_stats",
        "Percentiles of latency, first token and tokens per second",
        LatencyStatsShown,
        "By endpoint and model.",
        says="Of successful attempts. What was measured within the last second may be missing.",
        parameters=(
            number("days", "So many of UTC, with today.", MOST_DAYS, SPEED_DAYS),
            number("limit", "Of models of endpoints.", MOST_PER_PAGE, MOST_PER_PAGE),
            *_NARROWED,
        ),
        errors=_READS,
    ),
)
