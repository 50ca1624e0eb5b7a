"""How log lines look: for people on a terminal, JSON lines elsewhere."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.tracebacks import ExceptionDictTransformer

# Both would also show the local variables of every frame: requests, and keys among them.
_AS_JSON = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
_AS_TEXT = structlog.dev.plain_traceback


def configure_logging(level: str) -> None:
    """Set up structlog on standard error; *level* is debug, info, warning or error."""
    on_terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if on_terminal else [_AS_JSON]),
            structlog.dev.ConsoleRenderer(exception_formatter=_AS_TEXT)
            if on_terminal
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
