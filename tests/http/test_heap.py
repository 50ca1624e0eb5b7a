"""Large blocks of memory are asked to be given back, where there is somebody to ask."""

from __future__ import annotations

from types import SimpleNamespace

from llmlb.http.heap import LARGE_BYTES, give_back_large_blocks


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
