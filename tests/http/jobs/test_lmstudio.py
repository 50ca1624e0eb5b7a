"""A model that LM Studio fetches, asked again and again how far it is."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from llmlb.errors import LbError, NotImplementedYet, UpstreamUnreachable
from llmlb.http.jobs.lmstudio import DOWNLOAD, LIST, download, refuse_older
from llmlb.jobs import JobFailed, Progress
from tests.fakes.upstream import (
    Answer,
    FakeUpstream,
    disconnected,
    in_turn,
    json_answer,
    make_endpoint,
)

URL, STATUS = "http://a:1", f"{DOWNLOAD}/status/job_1"
UNKNOWN_ROUTE = {"error": "Unexpected endpoint or method. (POST /api/v1/models/download)"}
SECRET = "sk-of-the-endpoint"  # pragma: allowlist secret


def says(status: str, there: Any = 0, total: Any = 100, **more: Any) -> Answer:
    fields = {"job_id": "job_1", "downloaded_bytes": there, "total_size_bytes": total}
    return json_answer({**fields, "status": status, **more})


class Studio:
    def __init__(self, begun: Answer, *then: Answer | BaseException) -> None:
        self.upstream, self.told = FakeUpstream(), list[Progress]()
        self.upstream.on(URL, "POST", DOWNLOAD, begun)
        if then:
            self.upstream.on(URL, "GET", STATUS, in_turn(*then))

    async def download(self, quantization: str | None = None) -> None:
        await download(
            self.upstream,
            make_endpoint(api_key=SECRET),
            "a/b",
            quantization,
            self.told.append,
            stall_s=60,
        )

    async def failure(self) -> str:
        with pytest.raises(JobFailed) as caught:
            await self.download()
        return str(caught.value)


async def test_it_is_followed_to_its_end() -> None:
    studio = Studio(says("downloading"), says("downloading", 50), says("completed", 100))
    await studio.download()
    assert [p.downloaded_bytes for p in studio.told] == [0, 50, 100]
    assert studio.upstream.calls[0].json == {"model": "a/b"}


async def test_a_quantization_is_passed_on() -> None:
    studio = Studio(says("completed", 100))
    await studio.download("Q4_K_M")
    assert studio.upstream.calls[0].json == {"model": "a/b", "quantization": "Q4_K_M"}


async def test_what_is_there_already_is_done_at_once() -> None:
    studio = Studio(json_answer({"status": "already_downloaded"}))
    await studio.download()
    assert len(studio.upstream.calls) == 1


async def test_a_pause_of_the_endpoint_itself_is_waited_for() -> None:
    away = disconnected()
    studio = Studio(says("downloading"), away, json_answer({}, 503), says("completed", 100))
    await studio.download()
    assert studio.told[-1].fraction == 1.0


@pytest.mark.parametrize(
    ("begun", "then", "told"),
    [
        (json_answer(UNKNOWN_ROUTE), [], "Unexpected endpoint or method."),
        (json_answer({"error": {"message": f"{SECRET}?"}}), [], "is: ***?"),
        (json_answer({"error": "no such model"}, 404), [], "HTTP 404: no such model"),
        (says("failed"), [], "has failed"),
        (says("downloading", job_id="../../v1/models"), [], "how to ask"),
        (says("downloading", job_id=7), [], "how to ask"),
        (json_answer([1]), [], "does not say how far"),
        (says("downloading"), [json_answer({"error": "no such job"}, 404)], "no such job"),
        (says("downloading"), [says("dancing")], "does not say how far"),
        (says("downloading"), [says("paused", 5)], "It came no further within 60 s."),
        (says("downloading"), [disconnected()], "It came no further within 60 s."),
    ],
)
async def test_what_is_no_download_says_why(
    begun: Answer, then: list[Answer | BaseException], told: str
) -> None:
    studio = Studio(begun, *then)
    assert told in await studio.failure()
    assert trio.current_time() <= 70
    assert len(studio.upstream.calls) <= 70


async def test_numbers_that_cannot_be_are_not_taken_for_true() -> None:
    studio = Studio(says("downloading", -5, 10), says("downloading", 20, 10), says("completed"))
    await studio.download()
    assert [p.fraction for p in studio.told] == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        (json_answer({"models": []}), None),
        (json_answer({"error": "Unexpected endpoint or method."}), NotImplementedYet),
        (json_answer({"data": []}), NotImplementedYet),
        (json_answer({}, 404), NotImplementedYet),
        (None, UpstreamUnreachable),
    ],
)
async def test_an_older_version_is_told_from_a_newer_one(
    answer: Answer | None, refusal: type[LbError] | None
) -> None:
    upstream = FakeUpstream()
    if answer is not None:
        upstream.on(URL, "GET", LIST, answer)
    if refusal is None:
        await refuse_older(upstream, make_endpoint())
    else:
        with pytest.raises(refusal):
            await refuse_older(upstream, make_endpoint())
