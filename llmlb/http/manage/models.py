"""The routes about the models of one endpoint: what is known of one, fetching, deleting."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from uuid import UUID

from quart import Blueprint, Response, jsonify, request

from llmlb.errors import LbError, NotFound
from llmlb.http.auditing import note
from llmlb.http.engines.weights import weights_of
from llmlb.http.exchange import Exchange
from llmlb.http.jobs.lmstudio import CANNOT_STOP
from llmlb.http.jobs.models import delete, wanted
from llmlb.http.manage.body import read_form
from llmlb.http.manage.endpoint_json import instant, models_json
from llmlb.http.manage.endpoints import known_endpoint
from llmlb.http.manage.job_form import DeletionForm, DownloadForm
from llmlb.http.manage.job_json import download_json
from llmlb.http.manage.probing import sync_now
from llmlb.http.turned_away import shutting_down
from llmlb.types import Engine


def endpoint_models(exchange: Callable[[], Exchange]) -> Blueprint:
    """To be registered under each management prefix; *exchange* raises ShuttingDown."""
    routes, one = Blueprint("models", __name__), "/endpoints/<endpoint_id>"

    @routes.get(f"{one}/models/<path:model>/info")
    async def show_model(endpoint_id: str, model: str) -> Response:
        core = exchange()
        endpoint = known_endpoint(core.house, endpoint_id)
        shown = next((m for m in models_json(endpoint) if m["model_id"] == model), None)
        if shown is None:
            raise NotFound(f"'{endpoint.name}' lists no such model.", param="model")
        weights = await weights_of(core.client, endpoint, model)
        in_memory = endpoint.loaded_models
        return jsonify(
            {
                "endpoint_id": endpoint.id,
                **shown,
                "loaded": None if in_memory is None else model in in_memory,
                "last_checked": instant(endpoint.last_seen_at),
                **asdict(weights),
            }
        )

    @routes.post(f"{one}/download")
    async def download_model(endpoint_id: str) -> tuple[Response, int]:
        core = exchange()
        house, endpoint = core.house, known_endpoint(core.house, endpoint_id)
        form = await read_form(DownloadForm, request)
        note(detail=f"{endpoint.name}: {form.model}")
        if not house.open:
            raise shutting_down()
        what = await wanted(
            core.client,
            endpoint,
            form.model,
            hf_repo=form.hf_repo,
            quantization=form.quantization,
            stall_s=house.settings.download_stall_s,
        )
        download = await house.jobs.download(endpoint, what.name, what.work)
        return jsonify(download_json(download)), 202

    @routes.get(f"{one}/download/progress")
    async def list_downloads(endpoint_id: str) -> Response:
        house = exchange().house
        endpoint = known_endpoint(house, endpoint_id)
        newest_first = tuple(house.jobs.downloads.values())[::-1]
        tasks = [download_json(d) for d in newest_first if d.endpoint_id == endpoint.id]
        return jsonify(endpoint_id=endpoint.id, tasks=tasks)

    @routes.delete(f"{one}/download/<uuid:task_id>")
    async def cancel_download(endpoint_id: str, task_id: UUID) -> Response:
        house = exchange().house
        endpoint = known_endpoint(house, endpoint_id)
        download = house.jobs.downloads.get(str(task_id))
        if download is None or download.endpoint_id != endpoint.id:
            raise NotFound("This endpoint has no download with this id.")
        note(detail=f"{endpoint.name}: {download.model}")
        goes_on = CANNOT_STOP if endpoint.engine is Engine.LM_STUDIO else None
        return jsonify(download_json(await house.jobs.cancel_download(str(task_id), goes_on)))

    @routes.post(f"{one}/models/delete")
    async def delete_model(endpoint_id: str) -> tuple[str, int]:
        core = exchange()
        endpoint = known_endpoint(core.house, endpoint_id)
        form = await read_form(DeletionForm, request)
        note(detail=f"{endpoint.name}: {form.model}")
        await delete(core.client, endpoint, form.model)
        with suppress(LbError):  # it is deleted all the same, and the next probe finds that out
            await sync_now(core.house, endpoint)
        return "", 204

    return routes
