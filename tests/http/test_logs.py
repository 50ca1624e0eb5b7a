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
