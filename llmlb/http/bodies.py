"""How many bytes of request bodies are held at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class BodyBudget:
    """Owns the count of body bytes in memory, over all requests."""

    limit_bytes: int
    held_bytes: int = 0

    def take(self, n_bytes: int) -> bool:
        """Whether *n_bytes* more may be held; they count from now on if so."""
        if self.held_bytes + n_bytes > self.limit_bytes:
            return False
        self.held_bytes += n_bytes
        return True

    def give_back(self, n_bytes: int) -> None:
        self.held_bytes -= n_bytes
