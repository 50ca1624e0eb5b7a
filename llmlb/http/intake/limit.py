"""How large one body may be, once it is unpacked."""

from __future__ import annotations

from dataclasses import dataclass

from llmlb.errors import RequestTooLarge


@dataclass(slots=True)
class Allowance:
    """Counts the bytes of one body."""

    limit_bytes: int
    used_bytes: int = 0

    def use(self, n_bytes: int) -> None:
        """Raise RequestTooLarge if *n_bytes* more are too many."""
        self.used_bytes += n_bytes
        self.refuse(self.used_bytes)

    def refuse(self, n_bytes: int) -> None:
        """Raise RequestTooLarge if a body of *n_bytes* would be too large."""
        if n_bytes > self.limit_bytes:
            raise RequestTooLarge(
                f"The body of the request is larger than the limit of {self.limit_bytes} bytes."
            )
