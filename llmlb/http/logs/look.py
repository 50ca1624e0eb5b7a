"""How log entries look: for people on a terminal, JSON lines elsewhere."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TextIO

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

# Both would also show the local variables of every frame: requests, and keys among them.
as_json = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
"""Puts a fault's traceback into the entry as JSON."""

in_one_line = structlog.processors.JSONRenderer()


def for_people(hidden: Callable[[str], str]) -> tuple[Processor, ...]:
    """The last steps of an entry that goes to a terminal; *hidden* takes secrets out of a text."""

    def as_text(screen: TextIO, exception: ExcInfo) -> None:
        text = io.StringIO()
        structlog.dev.plain_traceback(text, exception)
        screen.write("\n".join(visible(line) for line in hidden(text.getvalue()).split("\n")))

    return (_only_visible, structlog.dev.ConsoleRenderer(exception_formatter=as_text))


def _only_visible(_: WrappedLogger, __: str, told: EventDict) -> EventDict:
    """Let no stranger's text move the cursor, change colours or turn a line around."""
    return {k: visible(v) if isinstance(v, str) else v for k, v in told.items()}


def visible(text: str) -> str:
    """*text* with an escape in place of each character that cannot be seen."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
