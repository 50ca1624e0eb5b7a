"""The header lines that hypercorn's configuration gives every answer, made once a second."""

from __future__ import annotations

import math

import trio
from hypercorn.config import Config

KEPT_S = 1.0
"""The date among them is told in seconds."""


class ServerLines:
    """Keeps them, as they are sent, for as long as they are true."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._made_at_s = -math.inf
        self._lines = b""

    def now(self) -> bytes:
        """As many lines as there are, each with its end."""
        now_s = trio.current_time()
        if not self._made_at_s <= now_s < self._made_at_s + KEPT_S:
            told = self._config.response_headers("h11")
            self._lines = b"".join(name + b": " + value + b"\r\n" for name, value in told)
            self._made_at_s = now_s
        return self._lines
