"""How long to wait before a store that has refused is asked again."""

from __future__ import annotations

FIRST_S, MOST_S = 1.0, 30.0


class Pauses:
    """Owns the pause after the next failure: 1 s, doubling up to 30 s while there is no success."""

    def __init__(self) -> None:
        self._next_s = FIRST_S

    @property
    def failing(self) -> bool:
        """Whether the latest try has failed."""
        return self._next_s != FIRST_S

    def after_failure(self) -> float:
        """Seconds to wait now."""
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, MOST_S)
        return pause_s

    def after_success(self) -> None:
        self._next_s = FIRST_S
