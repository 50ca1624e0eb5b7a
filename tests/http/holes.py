"""For tests of holes: the shortest base64 counts as long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from llmlb.http import holes


@contextmanager
def all_is_long(n_bytes: int = 4) -> Iterator[pytest.MonkeyPatch]:
    """Within it, what has *n_bytes* is taken out, and looked through in pieces of three."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(holes, "LONG_BYTES", n_bytes)
        patch.setattr(holes, "_LOOKED_AT_BYTES", 1)
        patch.setattr(holes, "_PIECE_BYTES", 3)
        yield patch
