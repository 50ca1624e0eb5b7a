"""How a run repeats itself: the one file that touches the insides of Trio."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio
import trio._core._run

SCHEDULER: Any = trio._core._run


class Moved(Exception):
    """A private thing that this file relies on is not where it was."""


def check(scheduler: Any = SCHEDULER) -> None:
    """Raise Moved unless all that `repeatable` puts its hands on is still there."""
    if not isinstance(getattr(scheduler, "_r", None), random.Random):
        raise Moved("trio._core._run._r is no random generator any more.")
    if getattr(scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING", None) not in (False, True):
        raise Moved("trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING is gone.")


def hashes_are_fixed() -> bool:
    """Whether this process was started with PYTHONHASHSEED=0, so that sets have one order."""
    return os.environ.get("PYTHONHASHSEED") == "0"


@contextmanager
def repeatable(seed: str) -> Iterator[None]:
    """Let what runs in here depend on *seed* alone. Raises Moved.

    Trio has no public seed for the order in which it runs tasks. And garbage is collected when
    there is enough of it, which is when abandoned generators end: `collect` does that, at moments
    of the run's own.
    """
    check()
    before = SCHEDULER._r.getstate(), SCHEDULER._ALLOW_DETERMINISTIC_SCHEDULING
    collected = gc.isenabled()
    SCHEDULER._r.seed(seed)
    SCHEDULER._ALLOW_DETERMINISTIC_SCHEDULING = True
    gc.disable()
    try:
        yield
    finally:
        state, SCHEDULER._ALLOW_DETERMINISTIC_SCHEDULING = before
        SCHEDULER._r.setstate(state)
        if collected:
            gc.enable()


def collect() -> None:
    """Collect garbage now."""
    gc.collect()
