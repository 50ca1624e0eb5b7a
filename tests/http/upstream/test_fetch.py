"""fetch_json: the JSON of an answer, or a sentence that says why there is none."""

from __future__ import annotations

import itertools

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from llmlb.errors import ProbeFailed
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.http.upstream.fetch import MIB, Fetched, NoVerdict, fetch_json
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

URL = "http://a:1"
A = make_endpoint(URL, api_key="sk-secret", extra_headers=(("x-tenant", "tenant-secret"),))


async def fetch(handler: object, path: str = "/v1/models", **how: object) -> Fetched:
    upstream = FakeUpstream()
    upstream.on(URL, "GET", path, handler)  # type: ignore[arg-type]
    try:
        return await fetch_json(upstream, A, "GET", path, timeout_s=5, **how)  # type: ignore[arg-type]
    finally:
        assert upstream.open_calls == []


async def failure(handler: object, **how: object) -> ProbeFailed:
    with pytest.raises(ProbeFailed) as caught:
        await fetch(handler, **how)  # type: ignore[arg-type]
    return caught.value


async def test_an_answer_is_read_with_its_status_and_headers() -> None:
    fetched = await fetch(json_answer({"data": []}, 201, server="x"))
    assert fetched == (201, {"content-type": "application/json", "server": "x"}, {"data": []})


async def test_a_body_is_sent_as_json() -> None:
    upstream = FakeUpstream()
    upstream.on(URL, "POST", "/api/show", json_answer({}))
    await fetch_json(upstream, A, "POST", "/api/show", timeout_s=5, body={"model": "m"})
    (call,) = upstream.calls
    assert call.json == {"model": "m"}
    assert call.headers == {"accept": "application/json", "content-type": "application/json"}


async def never_ending() -> object:
    for _ in itertools.count():
        yield b" "
        await trio.sleep(1)


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (replies(refused()), "Connection refused."),
        (
            replies(UpstreamFault(FaultKind.UNREACHABLE, "The host name could not be resolved.")),
            "The host name could not be resolved.",
        ),
        (hangs, "No answer within 5 s."),
        (Answer(200, JSON, never_ending()), "The answer did not end within 5 s."),  # type: ignore[arg-type]
        (Answer(200, JSON, [b'{"da', disconnected()]), "The answer was cut short."),
        (Answer(200, JSON, [b'{"data": [']), "The answer is half a JSON document."),
        (Answer(200, JSON, [b'{"data": "abc']), "The answer is half a JSON document."),
        (Answer(200, JSON, [b"{'a': 1}"]), "The answer is not JSON."),
        (Answer(200, JSON, [b"hello"]), "The answer is not JSON."),
        (Answer(200, JSON, [b"\xff\xfe\x00"]), "The answer is not JSON that can be read."),
        (Answer(200, JSON, [b"9" * 5000]), "The answer is not JSON that can be read."),
        (Answer(200, JSON, [b"[" * 200_000]), "The answer is not JSON that can be read."),
        (Answer(200, JSON, []), "The answer is empty."),
        (Answer(200, {}, [b" \n"]), "The answer is empty."),
        (
            Answer(200, {"Content-Type": "text/html"}, [b"hi"]),
            "The endpoint answers with a web page instead of JSON.",
        ),
        (
            Answer(200, {}, [b" <!doctype html>"]),
            "The endpoint answers with a web page instead of JSON.",
        ),
        (Answer(200, JSON, [b"[" + b" " * MIB] * 10), "The answer is larger than 4 MiB."),
        (json_answer({}, 401), "HTTP 401: the endpoint refuses the key."),
        (json_answer({"error": {"message": "Loading model"}}, 503), "HTTP 503: Loading model"),
        (json_answer({"error": "no\nsuch\troute"}, 404), "HTTP 404: no such route"),
        (json_answer({"detail": "Not Found"}, 404), "HTTP 404: Not Found"),
        (json_answer({"error": ["x"]}, 500), "HTTP 500."),
        (json_answer({"error": {"message": "x" * 900}}, 500), "HTTP 500: " + "x" * 199 + "…"),
        (Answer(500, {}, [b"<html>"]), "HTTP 500."),
        (Answer(500, {}, [b"x" * 9000] * 9), "HTTP 500."),
        (Answer(500, {}, [b"x", disconnected()]), "HTTP 500."),
        (Answer(502, {}, [b"x", 60.0]), "HTTP 502."),
        (
            Answer(301, {"Location": "https://a.example/v1/models"}),
            "The endpoint answers with a redirect: register https://a.example instead.",
        ),
        (
            Answer(307, {"Location": "/ui/v1/models/"}),
            "The endpoint answers with a redirect: register http://a:1/ui instead.",
        ),
        (Answer(302), "HTTP 302: a redirect to nowhere."),
        (Answer(302, {"Location": "http://[x"}), "HTTP 302: a redirect to nowhere."),
        (Answer(302, {"Location": "http://x\x07"}), "HTTP 302: a redirect to nowhere."),
    ],
)
async def test_each_failure_has_its_reason(
    handler: object, reason: str, autojump_clock: MockClock
) -> None:
    started = trio.current_time()
    assert str(await failure(handler)) == reason
    assert trio.current_time() - started <= 5


async def test_a_limit_below_a_mebibyte_is_told_in_bytes() -> None:
    answer = Answer(200, JSON, [b"x" * 101])
    assert str(await failure(answer, limit_bytes=100)) == "The answer is larger than 100 bytes."


@pytest.mark.parametrize(
    ("extra_headers", "reason"),
    [
        ((), "HTTP 401: the endpoint wants a key."),
        ((("Authorization", "Basic x"),), "HTTP 401: the endpoint refuses the key."),
    ],
)
async def test_an_endpoint_without_a_key_is_said_to_want_one(
    extra_headers: tuple[tuple[str, str], ...], reason: str
) -> None:
    upstream = FakeUpstream()
    upstream.on(URL, "GET", "/", json_answer({}, 401))
    endpoint = make_endpoint(URL, extra_headers=extra_headers)
    with pytest.raises(ProbeFailed) as caught:
        await fetch_json(upstream, endpoint, "GET", "/", timeout_s=5)
    assert str(caught.value) == reason


async def test_a_secret_that_the_endpoint_repeats_is_blotted_out() -> None:
    said = {"error": {"message": "bad key sk-secret for tenant-secret"}}
    assert str(await failure(json_answer(said, 403))) == "HTTP 403: bad key *** for ***"
    location = {"location": "http://x/?k=sk-secret"}
    assert "sk-secret" not in str(await failure(Answer(302, location)))


@pytest.mark.parametrize(
    ("handler", "verdict", "answered"),
    [
        (replies(refused()), False, False),
        (hangs, False, False),
        (Answer(200, JSON, [b"{", disconnected()]), False, True),
        (json_answer({}, 500), False, True),
        (json_answer({}, 404), True, True),
        (Answer(200, JSON, [b"{"]), True, True),
    ],
)
async def test_silence_a_broken_answer_and_a_refusal_are_told_apart(
    handler: object, verdict: bool, answered: bool, autojump_clock: MockClock
) -> None:
    failed = await failure(handler)
    assert isinstance(failed, NoVerdict) is not verdict
    assert failed.answered is answered


@given(
    status=st.integers(200, 599),
    body=st.binary(max_size=200) | st.just(b'{"error": {"message": "m"}}'),
    location=st.text(max_size=30),
)
def test_no_answer_can_make_it_fail_otherwise(status: int, body: bytes, location: str) -> None:
    reasons = [""]

    async def run() -> None:
        try:
            await fetch(Answer(status, {"location": location}, [body]))
        except ProbeFailed as failed:
            reasons.append(str(failed))

    trio.run(run)
    assert reasons[-1].isprintable()
