"""How log lines look, and what they do not show."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from llmlb.http.logs import Logs
from llmlb.http.logs.logs import SERVER
from llmlb.settings import Settings


class Screen(io.StringIO):
    """Standard error, on a terminal or not."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture(params=[True, False], ids=["terminal", "file"])
def screen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Screen:
    screen = Screen(terminal=request.param)
    monkeypatch.setattr("sys.stderr", screen)
    return screen


@pytest.fixture
def logs(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> Iterator[Logs]:
    monkeypatch.setattr(logging.getLogger(SERVER), "handlers", [])  # of hypercorn's own command
    logs = Logs()
    logs.begin(Settings(log_level="warning"))
    yield logs
    logs.end()
    structlog.reset_defaults()


def answer(request: str) -> None:
    raise ValueError(f"no answer to {len(request)} characters")


def test_a_fault_is_shown_without_what_it_worked_on(screen: Screen, logs: Logs) -> None:
    key = "sk-" + "hush" * 3
    try:
        answer(f"Authorization: {key}")
    except ValueError:
        structlog.get_logger().exception("an exchange failed", request_id="req-7")

    logged = screen.getvalue()
    assert "no answer to 30 characters" in logged
    assert "req-7" in logged
    assert "in answer" in logged or '"answer"' in logged, "the way there is shown"
    assert "hushhush" not in logged


def test_one_line_is_one_json_object_unless_people_read_it(screen: Screen, logs: Logs) -> None:
    structlog.get_logger().info("too quiet")
    structlog.get_logger().warning("an endpoint failed", endpoint="Küche", kind="timeout")

    [line] = screen.getvalue().splitlines()
    if not screen.isatty():
        told = json.loads(line)
        assert told.pop("timestamp").endswith("Z")
        assert told == {
            "event": "an endpoint failed",
            "endpoint": "Küche",
            "kind": "timeout",
            "level": "warning",
            "target": __name__,
            "line": 66,
        }
    assert "an endpoint failed" in line


ODD = ["\x1b[2J", "\x9b31m", "\r", "\x07", "\x00", "\u202e", "\u2028"]


def show(text: str) -> None:
    raise ValueError(text)


@pytest.mark.parametrize("odd", [*ODD, "\n"])
def test_no_text_of_a_stranger_steers_the_terminal(screen: Screen, logs: Logs, odd: str) -> None:
    structlog.get_logger().warning("not let in", path=f"/a{odd}b", known=[f"a{odd}b"], n=1)

    [line] = screen.getvalue().splitlines()
    assert odd not in line
    assert "not let in" in line


@pytest.mark.parametrize("odd", ODD)
def test_nor_does_what_a_fault_says_of_it(screen: Screen, logs: Logs, odd: str) -> None:
    try:
        show(f"a{odd}b")
    except ValueError:
        structlog.get_logger().exception("an exchange failed")

    assert odd not in screen.getvalue()
    assert "ValueError" in screen.getvalue()


SECRET = "sk_" + "hush" * 8
"""As a client's key looks."""


def fail(text: str) -> None:
    raise RuntimeError(text)


def test_secrets_are_taken_out_of_fields_messages_and_faults(screen: Screen, logs: Logs) -> None:
    log = structlog.get_logger()
    logs.redactor.learn(["correct horse battery"])
    log.warning(SECRET, reason=f"http://me:{SECRET}@desk/", deep={"x": [SECRET]})
    log.warning("named", api_key="short", nested={"X-Auth-Token": "short"})
    log.warning("known", reason="the password is 'correct horse battery'")
    try:
        try:
            fail(f"Authorization: Bearer {SECRET}")
        except RuntimeError as error:
            error.add_note("correct horse battery")
            raise ExceptionGroup("two of them", [error, ValueError(f"token={SECRET}")]) from error
    except ExceptionGroup:
        log.exception("an exchange failed")

    kept = json.dumps([entry.told for entry in logs.tail.all()])
    for shown in (screen.getvalue(), kept):
        assert "hush" not in shown
        assert "short" not in shown
        assert "horse" not in shown
        assert "http://***@desk/" in shown
        assert "two of them" in shown, "what is no secret is shown"


def test_what_others_log_has_the_same_looks_and_the_same_level(screen: Screen, logs: Logs) -> None:
    foreign = logging.getLogger(SERVER)
    with structlog.contextvars.bound_contextvars(request_id="req-7"):
        foreign.info("too quiet")
        foreign.warning("something of %s", SECRET)
        logging.getLogger("trio.async_generator_errors").error("bad", exc_info=ValueError("odd"))
    logs.set_level("error")
    foreign.warning("too quiet, by now")
    logs.set_level("debug")
    foreign.debug("of use to developers")

    assert [(e.told["event"], e.told["level"], e.told["target"]) for e in logs.tail.all()] == [
        ("something of ***", "warning", "hypercorn.error"),
        ("bad", "error", "trio.async_generator_errors"),
        ("of use to developers", "debug", "hypercorn.error"),
    ]
    assert "too quiet" not in screen.getvalue()
    assert "ValueError" in screen.getvalue()
    assert screen.getvalue().count("req-7") == 2
    if not screen.isatty():
        assert [json.loads(line)["level"] for line in screen.getvalue().splitlines()] == [
            "warning",
            "error",
            "debug",
        ]


def test_the_server_is_not_heard_twice(screen: Screen, logs: Logs) -> None:
    """Of a lifespan that failed, which is told already, and under a command that logs itself."""
    server, handler = logging.getLogger(SERVER), logging.NullHandler()
    server.error("ASGI Framework Lifespan errored, shutting down.")
    server.addHandler(handler)
    server.error("as its own command logs")
    server.removeHandler(handler)

    assert screen.getvalue() == ""


def test_an_entry_of_any_size_is_kept_in_part(screen: Screen, logs: Logs) -> None:
    endless: list[object] = []
    endless.append(endless)
    structlog.get_logger().warning(
        "large", a="x" * 10**6, b=list(range(10**5)), c=endless, d=float("inf"), e=b"\xff", f="z"
    )

    (kept,) = logs.tail.all()
    assert kept.size_bytes < 200_000
    assert len(json.dumps(kept.told)) < 200_000
    assert (kept.told["d"], kept.told["f"]) == ("inf", "z")


def test_an_entry_that_is_too_large_still_says_what_happened(screen: Screen, logs: Logs) -> None:
    with structlog.contextvars.bound_contextvars(request_id="req-7"):
        structlog.get_logger().warning("there are new models", models=["x" * 8000] * 20)

    (kept,) = logs.tail.all()
    assert (kept.told["event"], kept.told["level"]) == ("there are new models", "warning")
    assert kept.told["request_id"] == "req-7"
    assert "there are new models" in screen.getvalue()


def test_whoever_logs_in_a_wrong_way_does_not_fail_of_it(screen: Screen, logs: Logs) -> None:
    # not by way of a logger: pytest's own handlers fail of it
    [ours] = [h for h in logging.root.handlers if type(h).__module__.startswith("llmlb.")]
    ours.handle(logging.makeLogRecord({"msg": "%d of %d", "args": ("many",), "levelno": 30}))
    ours.handle(
        logging.makeLogRecord({"msg": ValueError("no text"), "name": SERVER, "levelno": 30})
    )

    assert [kept.told["event"] for kept in logs.tail.all()] == [
        "%d of %d (with ('many',))",
        "no text",
    ]
