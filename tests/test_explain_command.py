"""`llmlb explain`, and the route that it asks: why a request went where it went."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from llmlb.accounting import NOTHING_TOLD, Outcome
from llmlb.cli import main
from llmlb.explaining import explanation
from llmlb.http.openapi.requests import ExplanationShown
from llmlb.reasons import why
from llmlb.records import Attempt, Candidate, Decision, Exclusion, RequestRecord, View
from llmlb.types import Api, EndpointId

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
A, B = EndpointId("a"), EndpointId("b")


def candidate(
    endpoint_id: EndpointId = A,
    latency_ms: float | None = 120.0,
    *,
    in_flight: int = 0,
    excluded: Exclusion | None = None,
) -> Candidate:
    name = f"[bold]{endpoint_id}[/bold]"  # no markup of a terminal's
    return Candidate(endpoint_id, name, latency_ms, in_flight, 4, excluded)


def decision(
    *candidates: Candidate, to: EndpointId | None = A, answer: str = "granted"
) -> Decision:
    return Decision("tiny", 0.0, 1500.0, answer, to, View(candidates, 3), View(candidates))


def record(*decisions: Decision) -> RequestRecord:
    attempt = Attempt(A, "a", "tiny:1b", 0.0, 900.0, 300.0, Outcome.FAILED, 503, "no slot")
    return RequestRecord(
        id="1",
        request_id="req/1",
        arrived_at=AT,
        finished_at=AT,
        api=Api.CHAT_COMPLETIONS,
        path="/v1/chat/completions",
        stream=True,
        model="tiny",
        known_model=True,
        served_model="tiny:1b",
        endpoint_id=A,
        endpoint_name="a",
        only=False,
        key_id=None,
        user_id=None,
        client_address="127.0.0.1",
        outcome=Outcome.FAILED,
        status=502,
        error_code="upstream_error",
        error_message="no slot",
        waited_ms=1500.0,
        duration_ms=2400.0,
        time_to_first_token_ms=300.0,
        usage=NOTHING_TOLD,
        request_bytes=10,
        response_bytes=20,
        decisions=decisions,
        attempts=(attempt,),
    )


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (decision(candidate(A, 100), candidate(B, 200)), "It has the lowest latency"),
        (decision(candidate(A, 100), candidate(B, 100)), "it was its turn"),
        (decision(candidate(A, None), candidate(B, 100)), "not been measured yet, so it is tried"),
        (decision(candidate(A, None, in_flight=1), candidate(B, None)), "None of those"),
        (decision(candidate(A, 300), candidate(B, 100)), "was old, and is measured again"),
        (decision(candidate(A), candidate(B, excluded=Exclusion.FULL)), "the only one that could"),
        (decision(to=None, answer="line_full"), "too many were waiting"),
        (decision(to=None, answer="timeout"), "within the time"),
        (decision(to=None, answer="something new"), "to no endpoint"),
    ],
)
def test_the_reason_in_a_sentence(made: Decision, said: str) -> None:
    assert said in why(made)


def test_the_only_endpoint_of_a_model() -> None:
    alone = Decision("tiny", 0.0, 0.0, "granted", A, View((candidate(),)))
    assert why(alone) == "It is the only endpoint of the model."


@pytest.mark.parametrize(
    "answer", ["granted", "timeout", "model_unknown", "none_capable", "rate_limited"]
)
def test_of_a_request_for_one_endpoint_nothing_is_said_of_the_others(answer: str) -> None:
    to = A if answer == "granted" else None
    made = Decision("tiny", 0.0, 0.0, answer, to, View((candidate(),)))
    told = explanation(replace(record(made), only=True))
    [shown] = told["decisions"]
    assert shown["why"] != why(made)
    assert "this endpoint" in shown["why"] or "that may serve it" in shown["why"]


candidates = st.builds(
    Candidate,
    st.sampled_from([A, B]),
    st.text(max_size=5),
    st.none() | st.floats(0, 1e6),
    st.integers(0, 9),
    st.integers(1, 9),
    st.none() | st.sampled_from(Exclusion),
)
answers = st.sampled_from(
    ["granted", "timeout", "line_full", "model_unknown", "none_capable", "rate_limited", "closed"]
)
views = st.builds(View, st.lists(candidates, max_size=4).map(tuple), st.integers(0, 3))
decisions = st.builds(
    Decision,
    st.text(max_size=5),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    answers,
    st.none() | st.sampled_from([A, B]),
    views,
    st.none() | views,
)


@given(st.lists(decisions, max_size=3))
def test_every_record_has_the_shape_that_is_described(made: list[Decision]) -> None:
    shown = json.dumps(explanation(record(*made)))
    ExplanationShown.model_validate_json(shown)


# -- the command, before a server on a socket


class Server:
    """Answers every request alike, and keeps the last one."""

    def __init__(self, status: int, body: bytes) -> None:
        asked = self.asked = dict[str, str]()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.update(path=self.path, key=self.headers.get("authorization", ""))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """It is quiet."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    running = Server(*request.param)
    yield running
    running.close()


def told(made: RequestRecord) -> bytes:
    return json.dumps(explanation(made)).encode()


def explain(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "120"}).invoke(main, ["explain", *arguments])


WHOLE = record(
    decision(candidate(A, 100), candidate(B, None, excluded=Exclusion.OFFLINE)),
    decision(candidate(A, excluded=Exclusion.TRIED), to=None, answer="none_capable"),
)


@pytest.mark.parametrize("server", [(200, told(WHOLE))], indirect=True)
def test_it_shows_who_could_who_could_not_and_what_was_tried(server: Server) -> None:
    result = explain("req/1", "--url", server.url, "--api-key", "sk_x")

    assert result.exit_code == 0, result.output
    assert server.asked == {"path": "/api/requests/req%2F1/decision", "key": "Bearer sk_x"}
    lines = " ".join(result.output.split())
    for said in (
        "Failed after 2.40 s, status 502, 1.50 s of it in line, first token 300 ms after",
        "1. At 0 ms: given to '[bold]a[/bold]' after 1.50 s in line",
        "[bold]a[/bold] 100 ms 0 of 4 chosen",
        "[bold]b[/bold] not measured 0 of 4 offline",
        "and 3 more",
        "2. At 0 ms: none_capable",
        "a tiny:1b 0 ms 300 ms 900 ms failed with 503: no slot",
    ):
        assert said in lines, result.output


@pytest.mark.parametrize("server", [(200, told(WHOLE))], indirect=True)
def test_it_says_it_as_json(server: Server) -> None:
    result = explain("req/1", "--url", server.url, "--json")
    assert json.loads(result.output) == explanation(WHOLE)


ODD = "\x1b]0;a\x07\x9b31m\u202e\ud800"
"""What steers a terminal, and what cannot even be written to one."""

STEERING = replace(
    WHOLE,
    model=ODD,
    path=ODD,
    error_message=ODD,
    decisions=(decision(replace(candidate(), name=ODD)),),
    attempts=(replace(WHOLE.attempts[0], endpoint_name=ODD, model=ODD, reason=ODD),),
)


@pytest.mark.parametrize("server", [(200, told(STEERING))], indirect=True)
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_no_name_of_a_stranger_steers_the_terminal(server: Server, options: list[str]) -> None:
    result = explain("req/1", "--url", server.url, *options)

    assert result.exit_code == 0, result.output
    assert result.output.replace("\n", "").replace("–", "").isascii()
    assert "\x1b" not in result.output
    assert "31m" in result.output, "the rest is shown"


@pytest.mark.parametrize(
    ("server", "code", "said"),
    [
        ((404, b'{"error": {"message": "No such request."}}'), 1, "No such request."),
        ((404, b'{"error": {"message": "No \\u001b[2J"}}'), 1, "No \\x1b[2J"),
        ((401, b'{"error": {"message": "Who?"}}'), 1, "Who? Give a key with --api-key"),
        ((500, b'{"error": "x"}'), 2, "is no llmlb (HTTP 500)"),
        ((200, b"<html>"), 2, "is no llmlb"),
        ((200, b"[]"), 2, "is no llmlb"),
    ],
    indirect=["server"],
)
def test_what_it_says_when_it_gets_no_answer(server: Server, code: int, said: str) -> None:
    result = explain("x", "--url", server.url)
    assert (result.exit_code, said in result.output) == (code, True), result.output


def test_it_asks_where_the_settings_say_that_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMLB_HOST", "::")
    monkeypatch.setenv("LLMLB_PORT", "1")
    result = explain("x")
    assert result.exit_code == 2
    assert "llmlb cannot be asked at http://[::1]:1:" in result.output

    monkeypatch.setenv("LLMLB_PORT", "no port")
    assert "LLMLB_PORT" in explain("x").output
    assert explain("x", "--url", "http://[").exit_code == 2
