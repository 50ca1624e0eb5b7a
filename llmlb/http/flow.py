"""What of an endpoint's stream is for the client, read by read, and how much it has said."""

from __future__ import annotations

from collections.abc import Iterable

from llmlb.http.dialect import Dialect
from llmlb.http.sse import EventScanner, Piece


class EventFlow:
    """Follows one stream from its first byte to its last. Sans-IO, as bounded as its scanner.

    Once content flows, a read of tokens alone is passed on as it is: it is searched once for what
    might tell of more, and neither cut into events nor parsed.
    """

    def __init__(self, dialect: Dialect, choices: int) -> None:
        self.meter = dialect.meter(choices)
        self.hides_usage = False
        """Whether an event that tells the usage alone is kept from the client."""
        self.said_events = 0
        """How many have come since the answer began: about as many tokens, if nobody tells."""
        self.spoke = False
        """Whether data has come with the last read. A comment is alive, but says nothing."""
        self._scanner = EventScanner(dialect.event_limit_bytes)
        self._translator = dialect.translator()

    @property
    def inside_event(self) -> bool:
        """Whether the beginning of an event has been passed on, and not yet its end."""
        return self._scanner.inside_long

    def feed(self, data: bytes) -> bytes:
        """Take in what was read; what of it can be sent now, translated.

        Nothing is that comes after the end of the stream, or after an error in it. Raises
        UpstreamFault for what cannot be translated.
        """
        meter, scanner = self.meter, self._scanner
        if meter.begun and self._translator is None:
            block, rest = scanner.whole_events(data)
            if block and not meter.tells(block):
                scanner.drop()
                n_events = _events_with_data(block)
                self.spoke = n_events > 0
                if not meter.complete:
                    self.said_events += n_events
                return block + self._pass(scanner.feed(rest)) if rest else block
        self.spoke = False
        shown = self._pass(scanner.feed(data))
        self.spoke = self.spoke or scanner.gathering
        return shown

    def _pass(self, pieces: Iterable[Piece]) -> bytes:
        """What of *pieces* is for the client; all of them go through the meter."""
        meter, translator, shown = self.meter, self._translator, []
        for piece in pieces:
            usage_alone = meter.see(piece)
            if meter.error is not None:
                break  # ours takes its place, and what comes after it is of no use
            has_data = not piece.whole or b"data:" in piece.raw
            self.spoke = self.spoke or has_data
            if has_data and piece.last and meter.begun and not (meter.complete or usage_alone):
                self.said_events += 1
            if not (usage_alone and self.hides_usage):
                shown.append(piece.raw if translator is None else translator.feed(piece.raw))
            if meter.done:
                break  # whatever follows, the stream has ended
        return b"".join(shown)

    def finish(self, *, broken: bool) -> bytes:
        """What is still to be sent at the end of the stream, which may be a *broken* connection."""
        if self._translator is not None:
            return self._translator.finish()
        return b"" if self.meter.done or broken else self._scanner.rest()


def _events_with_data(block: bytes) -> int:
    """How many of the events of *block*, which end in LF LF, hold data."""
    n_fields = block.count(b"data:")
    return n_fields if n_fields < 2 else sum(b"data:" in one for one in block.split(b"\n\n"))
