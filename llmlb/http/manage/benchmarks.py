"""The routes under /benchmarks: how fast the endpoints of a model answer."""

from __future__ import annotations

from collections.abc import Callable

from quart import Blueprint, Response, jsonify, request

from llmlb.errors import ModelNotFound, NoCapableEndpoints, NotFound
from llmlb.http.auditing import note
from llmlb.http.exchange import Exchange
from llmlb.http.jobs.benchmark import Bench
from llmlb.http.manage.body import read_form
from llmlb.http.manage.job_form import BenchmarkForm
from llmlb.http.manage.job_json import benchmark_json
from llmlb.http.manage.query import Page
from llmlb.http.turned_away import shutting_down
from llmlb.types import Mode, Status


def benchmarks(exchange: Callable[[], Exchange]) -> Blueprint:
    """To be registered under each management prefix; *exchange* raises ShuttingDown."""
    routes = Blueprint("benchmarks", __name__)

    @routes.post("/benchmarks/tps")
    async def begin_benchmark() -> tuple[Response, int]:
        core = exchange()
        house = core.house
        plan = (await read_form(BenchmarkForm, request)).plan()
        offering = house.registry.catalog.offering(plan.model)
        if not offering:
            raise ModelNotFound(plan.model)
        if not house.open:
            raise shutting_down()
        serving = tuple(
            (e.id, e.name) for e in offering if e.mode is Mode.ENABLED and e.status is Status.ONLINE
        )
        if not serving:
            raise NoCapableEndpoints(f"No endpoint of '{plan.model}' is online.", retry_after_s=30)
        ids = tuple(endpoint_id for endpoint_id, _ in serving)
        bench = Bench(house, core.client, core.cut_off, plan, ids)
        run = await house.jobs.benchmark(plan, serving, bench.run)
        note(object_id=run.id, detail=f"{plan.model}, {plan.total_requests} requests")
        return jsonify(run_id=run.id, status=run.status.value), 202

    @routes.get("/benchmarks/tps")
    async def list_benchmarks() -> Response:
        newest_first = tuple(exchange().house.jobs.benchmarks.values())[::-1]
        page = Page.asked(request.args)
        return jsonify(page.listed("runs", newest_first, benchmark_json))

    @routes.get("/benchmarks/tps/<run_id>")
    async def show_benchmark(run_id: str) -> Response:
        run = exchange().house.jobs.benchmarks.get(run_id)
        if run is None:
            raise NotFound("There is no benchmark with this id.")
        return jsonify(benchmark_json(run))

    @routes.delete("/benchmarks/tps/<run_id>")
    async def cancel_benchmark(run_id: str) -> Response:
        return jsonify(benchmark_json(await exchange().house.jobs.cancel_benchmark(run_id)))

    return routes
