"""Which routes an endpoint has, by what it says to a question about nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from trio.testing import MockClock

from llmlb.http.engines.routes import NOT_EVERYWHERE, native_apis
from llmlb.http.engines.surveyor import HttpSurveyor
from llmlb.types import Api
from tests.fakes.upstream import (
    Answer,
    FakeUpstream,
    disconnected,
    hangs,
    json_answer,
    make_endpoint,
    refused,
    replies,
)

ASKED = ("/v1/messages", "/v1/messages/count_tokens")

URL = "http://a:1"
ENDPOINT = make_endpoint(URL)
BOTH = frozenset(NOT_EVERYWHERE)


@pytest.fixture
def upstream() -> FakeUpstream:
    upstream = FakeUpstream()
    upstream.get(URL, "/v1/models", {"data": [{"id": "tiny"}]})
    return upstream


async def found(upstream: FakeUpstream, known: frozenset[Api] = frozenset()) -> frozenset[Api]:
    endpoint = replace(ENDPOINT, native_apis=known)
    return await native_apis(upstream, endpoint, timeout_s=5)


@pytest.mark.parametrize(
    "answer",
    [
        json_answer({"error": {"message": "'messages' is required"}}, 500),  # llama.cpp
        json_answer({"type": "error", "error": {"message": "max_tokens: Field required"}}, 400),
        Answer(422),
        Answer(401),
        json_answer({"type": "error", "error": {"message": "odd"}}),
        json_answer({"type": "message"}),
        Answer(200, {}, [b"no JSON"]),
        Answer(200, {}, [b'{"error": "' + b"x" * 100_000]),
        Answer(200, {}, [b'{"error": ' + b"[" * 20_000 + b"]" * 20_000 + b"}"]),
    ],
)
async def test_whatever_is_said_of_the_request_means_that_the_route_is_there(
    upstream: FakeUpstream, answer: Answer
) -> None:
    upstream.on(URL, "POST", "/v1/messages", answer)
    assert await found(upstream) == {Api.MESSAGES}
    [call] = upstream.seen("/v1/messages")
    assert call.body == b"{}"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404),
        Answer(405),
        Answer(501),
        json_answer({"error": "Unexpected endpoint or method. (POST /v1/messages)"}),
    ],
)
async def test_a_route_that_is_not_there_is_forgotten(
    upstream: FakeUpstream, answer: Answer
) -> None:
    for path in ASKED:
        upstream.on(URL, "POST", path, answer)
    assert await found(upstream, BOTH) == frozenset()


@pytest.mark.parametrize("known", [frozenset(), BOTH])
async def test_where_nothing_is_said_what_was_known_holds(
    upstream: FakeUpstream, known: frozenset[Api], autojump_clock: MockClock
) -> None:
    for handler in (hangs, replies(refused()), replies(disconnected())):
        for path in ASKED:
            upstream.on(URL, "POST", path, handler)
        assert await found(upstream, known) == known
    assert not upstream.open_calls


async def test_a_survey_tells_them(upstream: FakeUpstream) -> None:
    upstream.on(URL, "POST", "/v1/messages/count_tokens", Answer(400))
    survey = await HttpSurveyor(upstream).survey(ENDPOINT)
    assert survey.native_apis == {Api.COUNT_TOKENS}


async def test_another_server_has_routes_of_its_own() -> None:
    assert replace(ENDPOINT, native_apis=BOTH).as_another_server().native_apis == frozenset()
