"""A model that LM Studio fetches: by its REST API of version 0.4 and later."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from llmlb.errors import NotImplementedYet, ProbeFailed, UpstreamError, UpstreamUnreachable
from llmlb.http.engines.foreign import JsonObject, count, mapping
from llmlb.http.jobs.pace import Pace
from llmlb.http.upstream.client import UpstreamClient
from llmlb.http.upstream.fetch import Fetched, NoVerdict, fetch_json, one_line
from llmlb.http.upstream.quoting import without_secrets
from llmlb.jobs import JobFailed, Progress
from llmlb.types import Endpoint

LIST, DOWNLOAD = "/api/v1/models", "/api/v1/models/download"

ASK_LIMIT_S = 30.0
"""Of one question: before it answers, it looks the model up on the internet."""
ASKED_EVERY_S = 1.0

CANNOT_STOP = "LM Studio goes on with it: its API cannot stop a download."

_JOB_ID = re.compile(r"[\w-]{1,200}", re.ASCII)


async def refuse_older(client: UpstreamClient, endpoint: Endpoint) -> None:
    """Raise NotImplementedYet for an LM Studio whose API has no downloads.

    Raises UpstreamError and UpstreamUnreachable, too.
    """
    try:
        said = mapping((await fetch_json(client, endpoint, "GET", LIST, timeout_s=10.0)).json)
    except NoVerdict as failure:
        error = UpstreamError if failure.answered else UpstreamUnreachable
        raise error(f"'{endpoint.name}' cannot be asked: {failure}") from None
    except ProbeFailed:
        said = {}
    # versions without the route answer 200 with an error
    if not isinstance(said.get("models"), list):
        raise NotImplementedYet(
            f"The LM Studio on '{endpoint.name}' has no API for downloads: it takes version 0.4 "
            "or later."
        )


async def download(
    client: UpstreamClient,
    endpoint: Endpoint,
    model: str,
    quantization: str | None,
    report: Callable[[Progress], None],
    *,
    stall_s: float,
) -> None:
    """Have *endpoint* fetch *model*; returns when it is there. Raises JobFailed."""
    which = {} if quantization is None else {"quantization": quantization}
    asked = {"model": model, **which}
    try:
        with trio.CancelScope(deadline=trio.current_time() + stall_s) as patience:
            ask = partial(fetch_json, client, endpoint, timeout_s=ASK_LIMIT_S)
            await _follow(ask, asked, Pace(report), patience, stall_s)
    except ProbeFailed as failure:
        raise JobFailed(str(failure)) from None
    except JobFailed as failure:  # perhaps in its words
        raise JobFailed(without_secrets(str(failure), endpoint)) from None
    if patience.cancelled_caught:
        raise JobFailed(f"It came no further within {stall_s:g} s.")


async def _follow(
    ask: Callable[..., Awaitable[Fetched]],
    asked: JsonObject,
    pace: Pace,
    patience: trio.CancelScope,
    stall_s: float,
) -> None:
    """Begin a download, and ask how far it is until it is over."""
    said, most = mapping((await ask("POST", DOWNLOAD, body=asked)).json), 0
    path = f"{DOWNLOAD}/status/{_job_id(said)}"
    while True:
        over = _over(said)
        total = count(said.get("total_size_bytes")) or 0
        there = min(count(said.get("downloaded_bytes")) or 0, total)
        if there > most:
            most, patience.deadline = there, trio.current_time() + stall_s
        pace.told(str(said.get("status")), there, total, last=over)
        if over:
            return
        await trio.sleep(ASKED_EVERY_S)
        try:
            said = mapping((await ask("GET", path)).json)
        except NoVerdict:
            continue  # it may be starting anew; how long that is waited for has an end


def _job_id(said: JsonObject) -> str:
    """Under which id to ask; nobody asks for what is there already. Raises JobFailed."""
    job_id = said.get("job_id")
    if isinstance(job_id, str) and _JOB_ID.fullmatch(job_id):
        return job_id
    if _over(said):
        return ""
    raise JobFailed("LM Studio does not say how to ask for the download.")


def _over(said: JsonObject) -> bool:
    """Whether the model is there. Raises JobFailed if it will not be."""
    match said.get("status"):
        case "completed" | "already_downloaded":
            return True
        case "downloading" | "paused":
            return False
        case "failed":
            raise JobFailed("LM Studio says that the download has failed.")
    error = said.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    told = f": {one_line(error)}" if isinstance(error, str) else "."
    raise JobFailed(f"LM Studio does not say how far the download is{told}")
