"""How log lines look: for people on a terminal, JSON lines elsewhere."""

from __future__ import annotations

import io
import logging
import sys
from typing import TextIO

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, ExcInfo, WrappedLogger

# Both would also show the local variables of every frame: requests, and keys among them.
_AS_JSON = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))


def _as_text(screen: TextIO, exception: ExcInfo) -> None:
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exception)
    screen.write("\n".join(_visible(line) for line in text.getvalue().split("\n")))


def _only_visible(_: WrappedLogger, __: str, told: EventDict) -> EventDict:
    """Let no stranger's text move the cursor, change colours or turn a line around."""
    return {k: _visible(v) if isinstance(v, str) else v for k, v in told.items()}


def _visible(text: str) -> str:
    """*text* with an escape in place of each character that cannot be seen."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def configure_logging(level: str) -> None:
    """Set up structlog on standard error; *level* is debug, info, warning or error."""
    on_terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _only_visible if on_terminal else _AS_JSON,
            structlog.dev.ConsoleRenderer(exception_formatter=_as_text)
            if on_terminal
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
