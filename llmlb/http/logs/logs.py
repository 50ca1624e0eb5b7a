"""The one way of every log entry: what is put to it, taken from it, and where it goes."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import EventDict, WrappedLogger

from llmlb.http.logs.log_file import LogFile
from llmlb.http.logs.look import as_json, for_people, in_one_line
from llmlb.http.logs.redactor import Redactor, secrets_of
from llmlb.http.logs.tail import LogTail
from llmlb.settings import LogLevel, Settings

SERVER = "hypercorn.error"
"""The standard library's logger that the server uses."""

_LEVELS = logging.getLevelNamesMapping()

_NOT_OURS = ("structlog", "logging", __package__)

_FIRST = ("timestamp", "level", "event", "request_id", "target", "line")

_NOT_ON_SCREEN = frozenset({"exception", "target", "line"})
"""A traceback is shown as text, and people are not helped by the other two."""


class Logs:
    """Owns the level, the newest entries and the log file. One is in force per process."""

    def __init__(self) -> None:
        self.redactor = Redactor()
        self.tail = LogTail()
        self.level: LogLevel = "info"
        self._file: LogFile | None = None
        self._bridge = _Bridge()
        self._on_terminal = False

    @property
    def path(self) -> str | None:
        """Of the log file, if there is one."""
        return None if self._file is None else str(self._file.path)

    def begin(self, settings: Settings) -> None:
        """Take in what is logged from here on, to standard error too. Raises StartupError."""
        self.redactor.learn(secrets_of(settings))
        self.tail.begin_anew()
        if self._file is None and (path := settings.log_path) is not None:
            self._file = LogFile(path)
        self._on_terminal = sys.stderr.isatty()
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                _add_place,
                self._take,
                *(for_people(self.redactor.text) if self._on_terminal else (in_one_line,)),
            ],
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            cache_logger_on_first_use=False,
        )
        if self._bridge not in logging.root.handlers:
            logging.root.addHandler(self._bridge)
        self.set_level(settings.log_level)

    def set_level(self, level: LogLevel) -> None:
        """Let entries below *level* be nothing from here on."""
        self.level = level
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level.upper()])
        )
        # What it says below that is of use only to who works on llmlb.
        logging.getLogger(SERVER).setLevel("DEBUG" if level == "debug" else "WARNING")

    def end(self) -> None:
        """Write what waits for the file. What is logged later goes to standard error alone."""
        logging.root.removeHandler(self._bridge)
        if self._file is not None:
            self._file.close()
            self._file = None

    def _take(self, _: WrappedLogger, __: str, told: EventDict) -> EventDict:
        """Keep an entry, without its secrets; what is left of it is shown."""
        fault, level = told.get("exc_info"), _LEVELS[told["level"].upper()]
        # what says most comes first: of an entry that is too large the rest is cut
        first = {name: told[name] for name in _FIRST if name in told}
        entry, size_bytes = self.redactor.entry(as_json(_, __, {**first, **told}))
        self.tail.add(entry, level, size_bytes)
        if self._file is not None:
            self._file.write(str(in_one_line(_, __, dict(entry))))
        if not self._on_terminal:
            return dict(entry)
        shown = {name: value for name, value in entry.items() if name not in _NOT_ON_SCREEN}
        return {**shown, "exc_info": fault} if fault else shown


def _add_place(_: WrappedLogger, __: str, told: EventDict) -> EventDict:
    """Put to an entry the module and the line that log it."""
    if "target" not in told:
        frame = sys._getframe(1)  # noqa: SLF001 - the documented way to look up the stack
        while frame.f_back and frame.f_globals.get("__name__", "").startswith(_NOT_OURS):
            frame = frame.f_back
        told["target"], told["line"] = frame.f_globals.get("__name__"), frame.f_lineno
    return told


class _Bridge(logging.Handler):
    """Puts what others log by way of the standard library on the same way as our own.

    structlog's ProcessorFormatter would give it our looks, but a level and a way out of its own.
    """

    def emit(self, record: logging.LogRecord) -> None:
        level = max(level for level in (10, 20, 30, 40, 50) if level <= max(record.levelno, 10))
        if record.name == SERVER:
            if logging.getLogger(SERVER).handlers:
                return  # under its own command it writes its own log
            if level > logging.DEBUG and str(record.msg).startswith("ASGI Framework Lifespan"):
                return  # the lifespan has told of it
        try:
            said = record.getMessage()
        except Exception:  # noqa: BLE001 - whoever logs has other things to do than to fail of it
            said = f"{record.msg} (with {record.args!r})"
        structlog.get_logger().log(
            level,
            said,
            target=record.name,
            line=record.lineno,
            exc_info=record.exc_info,
        )
