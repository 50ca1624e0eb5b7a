"""How the demonstration writes to the terminal: steps, tokens as they come, tables."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TextIO


class Screen:
    """Owns the output; every write is flushed, so that progress is seen in a pipe too."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        if isinstance(out, io.TextIOWrapper):
            out.reconfigure(errors="replace")  # a terminal that is not UTF-8 is no reason to fail

    def step(self, text: str) -> None:
        """One thing that is being done or was done."""
        self._write(f"==> {text}\n")

    def detail(self, text: str) -> None:
        """More about the step above; may have several lines."""
        for line in text.splitlines() or [""]:
            self._write(f"    {line}".rstrip() + "\n")

    def token(self, text: str) -> None:
        """A piece of a model's text, as it came."""
        self._write(printable(text))

    def end_line(self) -> None:
        self._write("\n")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def printable(text: str) -> str:
    """*text* with all that could steer a terminal replaced by a dot."""
    return "".join(letter if letter.isprintable() else "·" for letter in text)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as they need to be; None is shown as a dash."""
    cells = [[printable("–" if cell is None else str(cell)) for cell in row] for row in rows]
    lines = [list(header), *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
