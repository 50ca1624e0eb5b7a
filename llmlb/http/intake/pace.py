"""Whether a body comes in quickly enough for anybody to wait for it."""

from __future__ import annotations

from dataclasses import dataclass, field

LEAST_BYTES = 1024


@dataclass(slots=True)
class Pace:
    """Gives a body *limit_s* for each KiB; only the time counts in which it is waited for."""

    limit_s: float
    left_s: float = field(init=False)
    """So long the next piece may take."""
    _since_bytes: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.left_s = self.limit_s

    def came(self, n_bytes: int, after_s: float) -> None:
        """A piece of *n_bytes* came, after so long a wait."""
        self._since_bytes += n_bytes
        self.left_s = max(0.0, self.left_s - after_s)
        if self._since_bytes >= LEAST_BYTES:
            self._since_bytes, self.left_s = 0, self.limit_s
