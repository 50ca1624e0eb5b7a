"""How quickly a body has to come in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmlb.http.intake.pace import LEAST_BYTES, Pace

PIECES = st.lists(
    st.tuples(st.integers(min_value=0, max_value=3000), st.floats(min_value=0, max_value=40))
)


@given(pieces=PIECES)
def test_a_pace_is_the_time_left_for_the_next_kib(pieces: list[tuple[int, float]]) -> None:
    pace, since_bytes, since_s = Pace(30), 0, 0.0
    for n_bytes, after_s in pieces:
        pace.came(n_bytes, after_s)
        since_bytes, since_s = since_bytes + n_bytes, since_s + after_s
        if since_bytes >= LEAST_BYTES:
            since_bytes, since_s = 0, 0.0
        assert abs(pace.left_s - max(0.0, 30 - since_s)) < 1e-6


@given(n=st.integers(min_value=1, max_value=200), gap_s=st.floats(min_value=0.01, max_value=29.9))
def test_a_body_that_comes_a_kib_at_a_time_may_take_as_long_as_it_likes(
    n: int, gap_s: float
) -> None:
    pace = Pace(30)
    for _ in range(n):
        pace.came(LEAST_BYTES, gap_s)
        assert pace.left_s == 30


@given(gap_s=st.floats(min_value=0.1, max_value=29))
def test_a_body_that_comes_byte_by_byte_has_no_longer_than_one_that_does_not_come(
    gap_s: float,
) -> None:
    pace, waited_s = Pace(30), 0.0
    while pace.left_s:  # 1024 bytes would take 102 s at least
        pace.came(1, gap_s)
        waited_s += gap_s
    assert waited_s <= 30 + gap_s
