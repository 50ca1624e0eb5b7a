from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from llmlb.demo.screen import Screen, printable, table


@given(st.text())
def test_whatever_a_model_writes_cannot_steer_the_terminal(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) == len(text)


def test_printable_text_is_left_alone() -> None:
    assert printable("hello, wörld 你好 \x1b[2J\n") == "hello, wörld 你好 ·[2J·"


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    text = table(("name", "ms"), [("llama-a", None), ("b", 1.5)])
    assert text.splitlines() == ["name     ms", "llama-a  –", "b        1.5"]


def test_a_table_without_rows_is_its_header() -> None:
    assert table(("name", "status"), []) == "name  status"


def test_steps_details_and_tokens_are_told_apart() -> None:
    out = io.StringIO()
    screen = Screen(out)
    screen.step("Doing")
    screen.detail("one\ntwo")
    screen.token("to")
    screen.token("\x07ken")
    screen.end_line()
    assert out.getvalue() == "==> Doing\n    one\n    two\nto·ken\n"


def test_a_terminal_that_is_not_utf_8_is_no_reason_to_fail() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    Screen(out).token("é")
    assert raw.getvalue() == b"?"
