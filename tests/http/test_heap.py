"""Large blocks of memory are asked to be given back, where there is somebody to ask."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import pytest

from llmlb.http.heap import LARGE_BYTES, give_back_large_blocks, importing


def test_glibc_is_told_from_which_size_on() -> None:
    told: list[tuple[int, int]] = []

    def mallopt(option: int, value: int) -> int:
        told.append((option, value))
        return 1

    assert give_back_large_blocks(SimpleNamespace(mallopt=mallopt))
    assert told == [(-3, LARGE_BYTES)]


def test_a_refusal_and_a_library_without_the_switch_change_nothing() -> None:
    assert not give_back_large_blocks(SimpleNamespace(mallopt=lambda _option, _value: 0))
    assert not give_back_large_blocks(SimpleNamespace())


@pytest.mark.parametrize("enabled", [True, False])
def test_what_is_imported_is_not_looked_through(enabled: bool) -> None:
    before = gc.get_freeze_count()
    try:
        if not enabled:
            gc.disable()
        with importing():
            assert not gc.isenabled()
            made: list[list[int]] = [[] for _ in range(1000)]
        assert gc.isenabled() is enabled
        assert gc.get_freeze_count() >= before + len(made)
    finally:
        gc.enable()
