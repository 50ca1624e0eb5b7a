"""The link by which somebody becomes the first administrator."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.errors import SetupRequired
from llmlb.http.access.setup import VALID_S, SetupLink


class Terminal:
    """What has been printed, and the clock beside it."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.now_s = 0.0
        self.link = SetupLink(self.shown.append, lambda: self.now_s)

    def opens(self, token: str) -> bool:
        try:
            self.link.check(token)
        except SetupRequired:
            return False
        return True


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


def test_before_a_link_was_printed_none_is_right(terminal: Terminal) -> None:
    for token in ("", "None", "x"):
        assert not terminal.opens(token)
    assert terminal.shown == []


def test_the_link_that_was_printed_opens_for_an_hour_and_more_than_once(
    terminal: Terminal,
) -> None:
    """The page is looked at, its form may be filled in wrongly, and then it is sent."""
    terminal.link.print_anew()
    (token,) = terminal.shown
    assert len(token) >= 32
    assert terminal.opens(token)
    terminal.now_s = VALID_S - 1
    assert terminal.opens(token)


def test_whoever_comes_too_late_finds_a_new_one_printed(terminal: Terminal) -> None:
    terminal.link.print_anew()
    terminal.now_s = VALID_S
    with pytest.raises(SetupRequired, match="a new one has been printed"):
        terminal.link.check(terminal.shown[0])
    old, new = terminal.shown
    assert new != old
    assert not terminal.opens(old), "and it opens no more"
    assert terminal.opens(new)
    assert len(terminal.shown) == 2
    terminal.now_s = 2 * VALID_S - 1
    assert terminal.opens(new)


def test_nobody_else_can_make_links_be_printed(terminal: Terminal) -> None:
    terminal.link.print_anew()
    terminal.now_s = 10 * VALID_S
    for token in ("", "x", terminal.shown[0][:-1], terminal.shown[0] + "x"):
        assert not terminal.opens(token)
    assert len(terminal.shown) == 1


@given(st.text() | st.characters(categories=["Cs"]))
def test_nothing_else_opens(token: str) -> None:
    terminal = Terminal()
    terminal.link.print_anew()
    assert not terminal.opens(token)
