"""An endpoint's words, without what it was sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.http.upstream.quoting import SHORTEST_PART, without_secrets
from tests.fakes.upstream import make_endpoint

ENDPOINT = make_endpoint(
    api_key="sk-0123456789", extra_headers=(("A", "sk-0123456789-more"), ("B", "on"), ("C", ""))
)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("got sk-0123456789!", "got ***!"),
        ("sk-0123456789-more, sk-0123456789", "***, ***"),
        ("it is on", "it is on"),
        ("cut off: sk-01234", "cut off: ***"),
        ("cut off: sk-0123456789-m…", "cut off: ***"),
        ("too little to matter: sk-0123", "too little to matter: sk-0123"),
        ("", ""),
        ("well…", "well…"),
    ],
)
def test_secrets_are_blotted_out_also_where_the_text_was_cut_off(said: str, shown: str) -> None:
    assert without_secrets(said, ENDPOINT) == shown


@given(secret=st.text(min_size=SHORTEST_PART), before=st.text(), cut=st.integers(0))
def test_no_cut_lets_much_of_a_secret_through(secret: str, before: str, cut: int) -> None:
    text = (before + secret)[: len(before) + SHORTEST_PART + cut % len(secret)]
    shown = without_secrets(text, make_endpoint(api_key=secret))
    assert secret[:SHORTEST_PART] not in shown or secret[:SHORTEST_PART] in before + "***"
