"""How somebody becomes the first administrator: by a link that is printed at the start."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable

from llmlb.errors import SetupRequired

VALID_S = 3600.0


class SetupLink:
    """Owns the token of the link, and prints the link anew when it has run out."""

    def __init__(self, show: Callable[[str], None], clock: Callable[[], float]) -> None:
        """*show* is told a token for people to see; *clock* tells monotonic seconds."""
        self._show, self._clock = show, clock
        self._token: str | None = None
        self._made_at_s = 0.0

    def print_anew(self) -> None:
        """Make a token, and show it."""
        self._token, self._made_at_s = secrets.token_urlsafe(24), self._clock()
        self._show(self._token)

    def check(self, presented: str) -> None:
        """Raise SetupRequired unless *presented* is the token, and still valid.

        Whoever has had the right one may make the next one be printed, and nobody else may.
        """
        known = self._token
        if known is None or not hmac.compare_digest(
            presented.encode(errors="surrogatepass"), known.encode()
        ):
            raise SetupRequired("This is not the link that was printed at the last start of llmlb.")
        if self._clock() - self._made_at_s >= VALID_S:
            self.print_anew()
            raise SetupRequired(
                "The link has run out; a new one has been printed where llmlb runs."
            )
