"""A model that Ollama fetches: what it tells of that, line by line, and when to give up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import trio

from llmlb.http.engines.foreign import JsonObject, count
from llmlb.http.jobs.lines import Lines, LineTooLong
from llmlb.http.jobs.pace import Pace
from llmlb.http.upstream.client import UpstreamClient, UpstreamResponse
from llmlb.http.upstream.faults import UpstreamFault
from llmlb.http.upstream.fetch import one_line, refusal_of_probe
from llmlb.http.upstream.quoting import without_secrets
from llmlb.jobs import JobFailed, Progress
from llmlb.types import Endpoint

PATH = "/api/pull"

MOST_LAYERS = 1000
"""A model has a handful; of an endpoint that names more nothing is believed."""

MOST_BYTES_PER_S = 64 * 1024
"""Of what an endpoint tells; an honest one tells some KiB in a second. More is read slower."""


@dataclass(slots=True)
class PullMeter:
    """Follows one pull. Sans-IO, bounded."""

    finished: bool = False
    stage: str | None = None
    downloaded: int = 0
    """In bytes, over all layers that were named so far."""
    total: int = 0
    """Likewise."""
    _layers: dict[str, tuple[int, int]] = field(default_factory=dict)
    """How many bytes of each are there, and how many it has."""
    _most: int = 0
    _status: str | None = None
    """As it was said last."""
    _stages: set[str] = field(default_factory=set)

    def see(self, line: bytes) -> bool:
        """Take in one line; whether it tells of something new. Raises JobFailed."""
        said = _object(line)
        if (error := said.get("error")) is not None:
            raise JobFailed(one_line(error) if isinstance(error, str) else "It failed.")
        new = self._take_stage(said.get("status"))
        self._take_layer(said)
        if self.downloaded > self._most:
            self._most, new = self.downloaded, True
        return new

    def _take_stage(self, status: object) -> bool:
        if not isinstance(status, str) or status == self._status:
            return False
        self._status = status
        self.finished |= status == "success"
        self.stage = one_line(status)
        if self.stage in self._stages or len(self._stages) >= 2 * MOST_LAYERS:
            return False
        self._stages.add(self.stage)
        return True

    def _take_layer(self, said: JsonObject) -> None:
        """What is impossible (less than nothing, more than all) is not taken for true."""
        digest, total = said.get("digest"), count(said.get("total"))
        if not isinstance(digest, str) or total is None:
            return
        there = min(count(said.get("completed")) or 0, total)
        there_before, total_before = self._layers.get(digest, (0, 0))
        self._layers[digest] = there, total
        self.downloaded += there - there_before
        self.total += total - total_before
        if len(self._layers) > MOST_LAYERS:
            raise JobFailed("The endpoint tells of more layers than any model has.")


def _object(line: bytes) -> JsonObject:
    if not line.strip():
        return {}
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise JobFailed("What the endpoint tells of the download cannot be read.")
    return said


async def pull(
    client: UpstreamClient,
    endpoint: Endpoint,
    model: str,
    report: Callable[[Progress], None],
    *,
    stall_s: float,
) -> None:
    """Have *endpoint* fetch *model*; returns when it is there. Raises JobFailed.

    Ollama goes on only for as long as somebody listens, and keeps what it has for the next time.
    """
    body = json.dumps({"model": model, "stream": True}).encode()
    headers = [("content-type", "application/json"), ("accept", "application/x-ndjson")]
    hidden = partial(without_secrets, endpoint=endpoint)  # errors and stages are foreign text

    def in_its_words(progress: Progress) -> None:
        report(replace(progress, stage=progress.stage and hidden(progress.stage)))

    with trio.CancelScope(deadline=trio.current_time() + stall_s) as patience:
        try:
            async with client.call(endpoint, "POST", PATH, headers=headers, body=body) as response:
                if response.status == 200:
                    await _follow(response, Pace(in_its_words), patience, stall_s)
                    return
                refusal = await refusal_of_probe(response, endpoint, PATH)
        except UpstreamFault as fault:
            raise JobFailed(hidden(str(fault))) from None
        except LineTooLong:
            raise JobFailed("The endpoint tells of the download in a line without end.") from None
        except JobFailed as failure:
            raise JobFailed(hidden(str(failure))) from None
        raise JobFailed(hidden(str(refusal)))
    raise JobFailed(f"It came no further within {stall_s:g} s.")


async def _follow(
    response: UpstreamResponse, pace: Pace, patience: trio.CancelScope, stall_s: float
) -> None:
    """Read to the end of a pull. Raises JobFailed, LineTooLong, UpstreamFault."""
    meter, lines = PullMeter(), Lines()

    def see(whole: list[bytes]) -> None:
        for line in whole:
            if meter.see(line):
                patience.deadline = trio.current_time() + stall_s
        pace.told(meter.stage, meter.downloaded, meter.total, last=meter.finished)

    async for chunk in response.chunks():
        see(lines.feed(chunk))
        if meter.finished:
            return
        await trio.sleep(len(chunk) / MOST_BYTES_PER_S)
    see([lines.rest()])
    if not meter.finished:
        raise JobFailed("The endpoint broke off before the model was there.")
