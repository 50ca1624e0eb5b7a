"""Arguments: the end of a JSON object is found, however it is cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.http.anthropic.arguments import Arguments
from tests.http.anthropic.requests import jsons


def seen(*pieces: str) -> bool:
    arguments = Arguments()
    for piece in pieces:
        arguments.see(piece)
    return arguments.complete


@pytest.mark.parametrize(
    "pieces", [("",), (" ",), ("{",), ('{"a":', '"}'), ('{"\\', '"}'), ("[{}",)]
)
def test_what_is_open_is_not_complete(pieces: tuple[str, ...]) -> None:
    assert not seen(*pieces)


@given(st.dictionaries(st.text(), jsons | st.text('"\\{}[]'), max_size=3), st.data())
def test_an_object_is_complete_with_its_last_character(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value, ensure_ascii=False)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text) - 1), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text) - 1], strict=True)]
    assert not seen(*pieces)
    assert seen(*pieces, text[-1])
