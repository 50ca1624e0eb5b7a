from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.http.jobs.lines import LINE_LIMIT_BYTES, Lines, LineTooLong


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_lines_are_those_of_the_whole_however_it_comes(whole: bytes, cuts: list[int]) -> None:
    lines, found, last = Lines(), [], 0
    for cut in [*sorted(cuts), len(whole)]:
        found += lines.feed(whole[last:cut])
        last = max(last, cut)
    assert [*found, lines.rest()] == whole.split(b"\n")


@pytest.mark.parametrize("end", [b"", b"\n", b"\nmore"])
def test_a_line_that_is_too_long_is_not_held(end: bytes) -> None:
    lines = Lines()
    assert lines.feed(b"x" * LINE_LIMIT_BYTES) == []
    with pytest.raises(LineTooLong):
        lines.feed(b"x" + end)
