"""How log lines look, and what they do not show."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from llmlb.http.logs import configure_logging


class Screen(io.StringIO):
    """Standard error, on a terminal or not."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture(params=[True, False], ids=["terminal", "file"])
def screen(request: pytest.FixtureRequest) -> Iterator[Screen]:
    yield Screen(terminal=request.param)
    structlog.reset_defaults()


def answer(request: str) -> None:
    raise ValueError(f"no answer to {len(request)} characters")


def test_a_fault_is_shown_without_what_it_worked_on(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", screen)
    configure_logging("info")
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


def test_one_line_is_one_json_object_unless_people_read_it(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", screen)
    configure_logging("warning")
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
        }
    assert "an endpoint failed" in line


ODD = ["\x1b[2J", "\x9b31m", "\r", "\x07", "\x00", "\u202e", "\u2028"]


def show(text: str) -> None:
    raise ValueError(text)


@pytest.mark.parametrize("odd", [*ODD, "\n"])
def test_no_text_of_a_stranger_steers_the_terminal(
    screen: Screen, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    monkeypatch.setattr("sys.stderr", screen)
    configure_logging("info")
    structlog.get_logger().info("not let in", path=f"/a{odd}b", known=[f"a{odd}b"], n=1)

    [line] = screen.getvalue().splitlines()
    assert odd not in line
    assert "not let in" in line


@pytest.mark.parametrize("odd", ODD)
def test_nor_does_what_a_fault_says_of_it(
    screen: Screen, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    monkeypatch.setattr("sys.stderr", screen)
    configure_logging("info")
    try:
        show(f"a{odd}b")
    except ValueError:
        structlog.get_logger().exception("an exchange failed")

    assert odd not in screen.getvalue()
    assert "ValueError" in screen.getvalue()
