"""What was counted is the same wherever it is shown: after anything, deleted or restarted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from pydantic import TypeAdapter

from llmlb.activity import HouseGauges
from llmlb.http.application import create_app
from llmlb.http.manage.usage import GROUPS
from llmlb.http.openapi import statistics as described
from llmlb.http.openapi.shown import EndpointShown, ModelListShown
from llmlb.http.openapi.statistics_shown import (
    DashboardStatsShown,
    DayShown,
    GroupShown,
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
from llmlb.settings import Settings
from llmlb.store.history_search import HistorySearch
from llmlb.store.speeds import RELATIVE_ERROR
from llmlb.world import World
from tests.fakes.accounts import bearer, key, moved_in, user
from tests.fakes.asgi import Request
from tests.fakes.house import run_inline
from tests.fakes.openai import chat, chunk, completion, counted, finish, says, usage_alone
from tests.fakes.served import Served
from tests.fakes.upstream import FakeUpstream, disconnected, json_answer, replies, sse_answer

LATE = datetime(2026, 3, 1, 23, 59, 58, tzinfo=UTC)
"""Two seconds before the end of a day, of UTC."""

Json = dict[str, Any]

SHAPES: dict[str, Any] = {
    "/endpoints/id-a/today-stats": DayShown,
    "/endpoints/id-a/daily-stats": list[DayShown],
    "/endpoints/id-a/model-stats": list[ModelStatsShown],
    "/endpoints/id-a/model-tps": list[ModelTpsShown],
    "/dashboard/endpoints": list[EndpointShown],
    "/dashboard/models": ModelListShown,
    "/dashboard/stats": DashboardStatsShown,
    "/dashboard/request-history": list[MinuteShown],
    "/dashboard/overview": OverviewShown,
    "/dashboard/metrics/id-a": list[MetricsShown],
    "/dashboard/stats/tokens": TokenStatsShown,
    "/dashboard/stats/tokens/daily": list[UsageDayShown],
    "/dashboard/stats/tokens/monthly": list[UsageMonthShown],
    "/dashboard/stats/latency": LatencyStatsShown,
    "/dashboard/model-stats": list[ModelStatsShown],
}


class Dashboard:
    """Plays clients and an operator."""

    def __init__(self, served: Served) -> None:
        self.served = served

    async def get(self, path: str, *, prefix: str = "/api", **query: object) -> Any:
        asked = urlencode(query).encode()
        reply = await self.served(
            "GET", f"{prefix}{path}", headers=bearer("op"), query_string=asked
        )
        assert reply.status == 200, reply.body
        return reply.json

    async def ask(self, body: bytes | None = None, *, by: str | None = "k1") -> int:
        headers = {} if by is None else bearer(by)
        path = "/v1/chat/completions"
        return (
            await self.served.post(path, chat() if body is None else body, headers=headers)
        ).status

    async def all_shown(self) -> Json:
        return {path: await self.get(path) for path in SHAPES}


@asynccontextmanager
async def dashboard_in(directory: Path, upstream: FakeUpstream) -> AsyncIterator[Dashboard]:
    app = create_app(
        Settings(data_dir=directory),
        client=upstream,
        world=World(
            now=lambda: LATE + timedelta(seconds=trio.current_time()), rng=random.Random(1)
        ),
        run_in_thread=run_inline,
    )
    async with trio.open_nursery() as nursery:
        served = Served(app, upstream, nursery)
        await served.lifespan.start(nursery)
        yield Dashboard(served)
        await served.lifespan.stop()


async def mixed_run(shown: Dashboard) -> None:
    """Twelve requests. `solo` is on endpoint a alone, `other` on b, and `tiny` on both."""
    served, scene = shown.served, shown.served.scene
    await moved_in(served.app.house, user(), key("op"), key("k1"), key("k2"))
    await scene.endpoint("a", "solo", "tiny", slots=4)
    await scene.endpoint("b", "other", "tiny", slots=4)
    solo = chat("solo", stream=True)
    answer = replies(json_answer(completion(usage=counted(4, 2))), after_s=0.1)
    scene.on("a", answer)
    for by in ("k1", "k1", "k2"):
        assert await shown.ask(chat("solo"), by=by) == 200
    # failover from b, which has not been measured; what it says it has used is its own
    said = chunk({"role": "assistant"}, usage=counted(7, 1))
    scene.on("b", sse_answer(said, disconnected()))
    scene.on("a", sse_answer(0.1, says("one"), says("two"), finish(), usage_alone(4, 2)))
    assert await shown.ask(chat(stream=True), by="k2") == 200
    # a stream of eleven tokens, the first after 100 ms, the others within 500
    pieces = [event for n in range(11) for event in ((0.1 if n == 0 else 0.05), says(str(n)))]
    scene.on("a", sse_answer(*pieces, finish(), usage_alone(5, 11)))
    assert await shown.ask(solo) == 200
    # a stream that breaks: its tokens are an estimate
    scene.on("a", sse_answer(says("one"), says("two"), disconnected()))
    assert await shown.ask(solo) == 200
    # the endpoint finds fault with the request
    scene.on("a", json_answer({"error": {"message": "temperature is too high"}}, 400))
    assert await shown.ask(chat("solo")) == 400
    # refused before anybody was asked: no key, a name that nobody has, no request at all
    assert await shown.ask(by=None) == 401
    assert await shown.ask(chat("made-up-by-a-client")) == 404
    assert await shown.ask(b"no json") == 400
    # a client that leaves in the middle
    scene.on("a", sse_answer(says("one"), 60.0, finish()))
    leaving = served.begin(
        served.request("POST", "/v1/chat/completions", solo, headers=bearer("k2"))
    )
    await trio.sleep(0.5)
    leaving.leave()
    # and one on the next day, for another model
    await trio.sleep(5)
    scene.on("b", replies(json_answer(completion(usage=counted(20, 10))), after_s=0.2))
    assert await shown.ask(chat("other"), by="k2") == 200


def added(rows: list[Json], name: str) -> int:
    return sum(row[name] for row in rows)


async def agree(shown: Dashboard) -> Json:
    """Hold every route that shows requests or tokens against the others; what they say."""
    stats = await shown.get("/dashboard/stats")
    names = ("total_input_tokens", "total_output_tokens", "total_tokens", "estimated_tokens")
    tokens = {name: stats[name] for name in names}
    endings = ("successful_requests", "failed_requests", "cancelled_requests")
    requests = {name: stats[name] for name in (*endings, "refused_requests")}
    assert stats["total_requests"] == sum(stats[name] for name in endings)

    whole = await shown.get("/dashboard/stats/tokens")
    assert {name: whole[name] for name in names} == tokens
    assert {name: whole[name] for name in requests} == requests
    assert whole["average_duration_ms"] == stats["average_response_time_ms"]
    lists = [
        (await shown.get("/dashboard/stats/tokens", group_by=group))["groups"] for group in GROUPS
    ]
    for path in ("daily", "monthly"):
        lists.append(await shown.get(f"/dashboard/stats/tokens/{path}"))
        lists.extend(
            [await shown.get(f"/dashboard/stats/tokens/{path}", group_by=g) for g in GROUPS]
        )
    for rows in lists:
        assert {name: added(rows, name) for name in names} == tokens
        assert {name: added(rows, name) for name in requests} == requests
        assert added(rows, "request_count") == stats["total_requests"]

    minutes = await shown.get("/dashboard/request-history")
    assert len(minutes) == 60
    assert added(minutes, "success") == stats["successful_requests"]
    assert added(minutes, "error") == stats["failed_requests"]
    assert added(minutes, "cancelled") == stats["cancelled_requests"]

    # attempts: of each endpoint the same, and its tokens are those of the requests
    by_endpoint = {
        row["endpoint_id"]: row
        for row in (await shown.get("/dashboard/stats/tokens", group_by="endpoint"))["groups"]
    }
    per_model: list[Json] = []
    for one in ("id-a", "id-b"):
        models = await shown.get(f"/endpoints/{one}/model-stats")
        days = await shown.get(f"/endpoints/{one}/daily-stats")
        speeds = await shown.get(f"/endpoints/{one}/model-tps")
        per_model += models
        for name in ("total_requests", *requests):
            assert added(models, name) == added(days, name)
        assert added(speeds, "request_count") == added(models, "total_requests")
        assert {name: added(models, name) for name in names} == {
            name: by_endpoint[one][name] for name in names
        }
        today = await shown.get(f"/endpoints/{one}/today-stats")
        assert today == next(
            (day for day in days if day["date"] == today["date"]),
            {"date": "2026-03-02", **dict.fromkeys(("total_requests", *requests), 0)},
        )
        known = [e for e in await shown.get("/dashboard/endpoints") if e["id"] == one]
        for endpoint in known:
            assert endpoint == await _without_models(shown, one)
            assert endpoint["total_requests"] == added(models, "total_requests")
            assert endpoint["total_tokens"] == added(models, "total_tokens")
            assert endpoint["cancelled_requests"] == added(models, "cancelled_requests")
            (metrics,) = await shown.get(f"/dashboard/metrics/{one}")
            assert metrics["total_requests"] == endpoint["total_requests"]
    every = await shown.get("/dashboard/model-stats")
    for name in (*names, "total_requests", "total_duration_ms", *requests):
        assert added(every, name) == pytest.approx(added(per_model, name))

    overview = await shown.get("/dashboard/overview")
    assert overview["stats"] == stats
    assert overview["history"] == minutes
    assert overview["endpoints"] == await shown.get("/dashboard/endpoints")
    for tps in overview["endpoint_tps"]:
        assert tps["total_output_tokens"] == by_endpoint[tps["endpoint_id"]]["total_output_tokens"]
    return {**tokens, **requests, "total": stats["total_requests"], "models": every}


async def _without_models(shown: Dashboard, one: str) -> Json:
    endpoint: Json = await shown.get(f"/endpoints/{one}")
    endpoint.pop("models")
    return endpoint


async def agree_with_history_events_and_metrics(shown: Dashboard, told: Json) -> None:
    """The history, the ticks of the event stream and /metrics show the same as the statistics."""
    house = shown.served.app.house
    await house.history.flush()
    found = (await house.store.history.search(HistorySearch(), 100)).rows
    by_outcome = Counter(row["outcome"] for row in found)
    assert len(found) == told["total"]
    assert by_outcome["succeeded"] == told["successful_requests"]
    assert by_outcome["refused"] == told["refused_requests"]
    assert by_outcome["cancelled"] == told["cancelled_requests"]
    assert by_outcome["failed"] == told["failed_requests"] - told["refused_requests"]
    assert sum(row["total_tokens"] or 0 for row in found) == told["total_tokens"]

    tick = HouseGauges(
        house.admission.statistics, lambda: house.journal.requests, lambda: house.registry.catalog
    ).totals()
    assert (tick.total_requests, tick.total_tokens) == (told["total"], told["total_tokens"])
    assert (tick.failed_requests, tick.refused_requests) == (5, 4)

    page = (await shown.served("GET", "/metrics", headers=bearer("op"))).body.decode()
    counted = Counter[str]()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == "llmlb_requests_total":
                counted[sample.labels["outcome"]] += int(sample.value)
    assert counted == by_outcome


async def test_one_source_for_each_number_after_anything(tmp_path: Path) -> None:
    upstream = FakeUpstream()
    async with dashboard_in(tmp_path, upstream) as shown:
        await mixed_run(shown)
        told = await agree(shown)
        assert {name: told[name] for name in told if name != "models"} == {
            "total": 12,
            "successful_requests": 6,
            "failed_requests": 5,
            "refused_requests": 4,
            "cancelled_requests": 1,
            "total_input_tokens": 4 * 4 + 7 + 5 + 20,
            "total_output_tokens": 4 * 2 + 1 + 11 + 2 + 1 + 10,
            "total_tokens": 4 * 6 + 8 + 16 + 2 + 1 + 30,
            "estimated_tokens": 2 + 1,
        }
        await agree_with_history_events_and_metrics(shown, told)
        by_key = (await shown.get("/dashboard/stats/tokens", group_by="key"))["groups"]
        assert {row["api_key_id"]: row["request_count"] for row in by_key} == {
            "key-k1": 7,
            "key-k2": 4,
            None: 1,
        }
        narrowed = await shown.get(
            "/dashboard/stats/tokens", api_key_id="key-k2", endpoint_id="id-b", model="other"
        )
        assert (narrowed["request_count"], narrowed["total_tokens"]) == (1, 30)
        by_model = (await shown.get("/dashboard/stats/tokens", group_by="model"))["groups"]
        assert {row["model"] for row in by_model} == {"solo", "tiny", "other", None}
        days = await shown.get("/dashboard/stats/tokens/daily")
        assert [day["date"] for day in days] == ["2026-03-02", "2026-03-01"]
        assert [d["date"] for d in await shown.get("/dashboard/stats/tokens/daily", days=1)] == [
            "2026-03-02"
        ]
        (month,) = await shown.get("/dashboard/stats/tokens/monthly")
        assert (month["month"], month["request_count"]) == ("2026-03", 12)

        gone = await shown.served("DELETE", "/api/endpoints/id-a", headers=bearer("op"))
        assert gone.status == 204
        assert await agree(shown) == told
        reply = await shown.served("GET", "/api/dashboard/metrics/id-a", headers=bearer("op"))
        assert reply.status == 404
    async with dashboard_in(tmp_path, upstream) as shown:
        assert await agree(shown) == told
        await shown.served.scene.probed(shown.served.scene.known("b"))
        assert await shown.ask(by="k1") == 200
        assert (await agree(shown))["total"] == 13


async def test_every_answer_is_as_it_is_described_and_the_same_under_v0(tmp_path: Path) -> None:
    async with dashboard_in(tmp_path, FakeUpstream()) as shown:
        await mixed_run(shown)
        await trio.sleep(1)
        for path, shape in SHAPES.items():
            answer = await shown.served("GET", f"/api{path}", headers=bearer("op"))
            TypeAdapter(shape).validate_json(answer.body, strict=True)
            if path != "/dashboard/overview":  # it says how long it took
                assert answer.json == await shown.get(path, prefix="/v0")
        for group in GROUPS:
            found = await shown.get("/dashboard/stats/tokens", group_by=group)
            for row in found["groups"]:
                TypeAdapter(GroupShown).validate_python(row)
        routes = {route.path.replace("{endpoint_id}", "id-a") for route in described.STATISTICS}
        assert routes == {f"/api{path}" for path in SHAPES}


async def test_percentiles_and_samples_tell_how_fast_it_was_also_after_a_restart(
    tmp_path: Path,
) -> None:
    upstream = FakeUpstream()
    async with dashboard_in(tmp_path, upstream) as shown:
        await mixed_run(shown)
        (metrics,) = await shown.get("/dashboard/metrics/id-a")
        assert [round(sample["latency_ms"]) for sample in metrics["samples"]] == [100] * 4 + [600]
        *plain, failed_over, streamed = metrics["samples"]
        assert failed_over["time_to_first_token_ms"] == pytest.approx(100)
        assert {sample["time_to_first_token_ms"] for sample in plain} == {None}
        assert streamed["time_to_first_token_ms"] == pytest.approx(100)
        assert streamed["tokens_per_s"] == pytest.approx(20)
        assert streamed["at"].startswith("2026-03-01T23:59:5")
        assert metrics["average_response_time_ms"] == pytest.approx(200)
        solo, tiny = await shown.get("/endpoints/id-a/model-tps")
        assert (solo["model_id"], solo["tps"]) == (
            "solo",
            pytest.approx((3 * 2 + 11) / 0.9, abs=0.001),
        )
        assert (tiny["model_id"], tiny["request_count"], tiny["source"]) == (
            "tiny",
            1,
            "production",
        )
    async with dashboard_in(tmp_path, upstream) as shown:
        speeds = await shown.get("/dashboard/stats/latency")
        assert [(m["endpoint_id"], m["model_id"]) for m in speeds["models"]] == [
            ("id-a", "solo"),
            ("id-a", "tiny"),
            ("id-b", "other"),
        ]
        first = speeds["models"][0]
        assert first["latency_ms"]["count"] == 4
        assert first["latency_ms"]["p50"] == pytest.approx(100, rel=RELATIVE_ERROR)
        assert first["latency_ms"]["p99"] == pytest.approx(600, rel=RELATIVE_ERROR)
        assert first["time_to_first_token_ms"]["p95"] == pytest.approx(100, rel=RELATIVE_ERROR)
        assert first["tokens_per_s"]["p90"] == pytest.approx(20, rel=RELATIVE_ERROR)
        assert (await shown.get("/dashboard/stats/latency", days=1, model="tiny"))["models"] == []
        (one,) = (await shown.get("/dashboard/stats/latency", endpoint_id="id-b", limit=1))[
            "models"
        ]
        assert one["endpoint_name"] == "b"


async def look(served: Served, target: str) -> Request:
    path, _, query = target.partition("?")
    return await served("GET", f"/api{path}", query_string=query.encode())


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/endpoints/id-a/daily-stats?days=366", "days"),
        ("/dashboard/stats/tokens?group_by=day", "group_by"),
        ("/dashboard/stats/tokens/daily?days=0", "days"),
        ("/dashboard/stats/tokens/monthly?months=121", "months"),
        (f"/dashboard/stats/tokens?model={'m' * 501}", "model"),
        ("/dashboard/stats/latency?limit=x", "limit"),
        ("/dashboard/endpoints?per_page=501", "per_page"),
    ],
)
async def test_what_cannot_be_meant_is_refused_by_name(
    served: Served, path: str, param: str
) -> None:
    await served.scene.endpoint("a")
    reply = await look(served, path)
    assert (reply.status, reply.error["param"]) == (400, param)


@pytest.mark.parametrize("route", ["today-stats", "daily-stats", "model-stats", "model-tps"])
async def test_an_endpoint_that_never_was_has_no_statistics(served: Served, route: str) -> None:
    reply = await served("GET", f"/api/endpoints/id-x/{route}")
    assert (reply.status, reply.error["code"]) == (404, "not_found")


async def test_lists_are_read_page_by_page(served: Served) -> None:
    for name in "abc":
        await served.scene.endpoint(name, f"model-{name}")
    for query, names in (("per_page=2", "cb"), ("page=2&per_page=2", "a")):
        listed = (await look(served, f"/dashboard/endpoints?{query}")).json
        assert [endpoint["name"] for endpoint in listed] == list(names)
    models = (await look(served, "/dashboard/models?page=2&per_page=2")).json["data"]
    assert [model["id"] for model in models] == ["model-c"]


async def test_models_of_endpoints_that_are_off_are_known_and_not_ready(served: Served) -> None:
    await served.scene.endpoint("a")
    await served("POST", "/api/endpoints/id-a/disable")
    (model,) = (await served("GET", "/api/dashboard/models")).json["data"]
    assert (model["id"], model["ready"], model["endpoint_ids"]) == ("tiny", False, [])
    assert (await served("GET", "/v1/models")).json["data"] == []


async def test_a_database_that_does_not_answer_is_told_of_in_time(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(served.app.house.store.statistics, "sums", never)
    reply = await served("GET", "/api/dashboard/stats/tokens")
    assert (reply.status, reply.error["code"]) == (503, "store_unavailable")
    assert trio.current_time() == pytest.approx(30, abs=1)
    assert (await served("GET", "/api/dashboard/stats")).status == 200
