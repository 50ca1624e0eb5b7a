"""The routes of the log: what it has said, what it says as it is said, and how much it says."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import structlog
import trio
from quart import Blueprint, Response, g, jsonify, request

from llmlb.errors import InvalidRequest, LbError
from llmlb.forms import Form
from llmlb.http.access.gate import Gate
from llmlb.http.access.needs import LOGS
from llmlb.http.asgi import ExchangeResponse
from llmlb.http.auditing import note
from llmlb.http.downstream import Downstream
from llmlb.http.dressed import Dressed
from llmlb.http.inbound import caller_at_hand
from llmlb.http.logs import Logs
from llmlb.http.logs.redactor import Json
from llmlb.http.logs.tail import Kept, LogTail
from llmlb.http.manage.body import read_form
from llmlb.http.manage.query import flag, whole
from llmlb.http.manage.streaming import STREAM_HEADERS, refuse, tell_to_the_end
from llmlb.http.response_policy import ResponsePolicy
from llmlb.settings import LogLevel

log = structlog.get_logger()

SOURCE = "load balancer"
SHOWN, MOST_SHOWN = 200, 1000
MOST_SEARCHED_CHARS = 200

IN_A_PIECE = 100
"""So many entries are looked at, or told, before others have their turn."""

LEVELS = ("debug", "info", "warning", "error", "critical")

_PLACES = ("timestamp", "level", "target", "line")
"""Fields of an entry that the older product has beside its `fields`."""


class LogLevelForm(Form):
    """How much is logged, until the balancer stops; the next start reads `LLMLB_LOG_LEVEL`."""

    level: LogLevel
    """The least that is logged."""


def logs_routes(
    logs: Callable[[], Logs],
    gate: Callable[[], Gate],
    policy: Callable[[], ResponsePolicy] = ResponsePolicy,
) -> Blueprint:
    """`/dashboard/logs/lb` and `/system/logging`, to be registered under each prefix."""
    routes = Blueprint("logs", __name__)

    @routes.get("/dashboard/logs/lb")
    async def show_log() -> Response:
        current, wanted = logs(), Wanted.asked(request.args)
        if not _wants_stream():
            entries = [shown(kept) for kept in await wanted.newest(current.tail)]
            return jsonify(source=SOURCE, entries=entries, path=current.path)
        if request.method == "HEAD":
            return Response(b"", 200, dict(STREAM_HEADERS))
        welcome = partial(gate().still_admits, LOGS, caller_at_hand())
        following = _Following(current.tail, wanted, welcome, g.request_id)
        return ExchangeResponse(lambda client: following.run(Dressed(client, policy())))

    @routes.get("/system/logging")
    async def show_log_level() -> Response:
        return jsonify(level=logs().level)

    @routes.put("/system/logging")
    async def set_log_level() -> Response:
        current = logs()
        before, level = current.level, (await read_form(LogLevelForm, request)).level
        current.set_level(level)
        note(detail=f"{before} → {level}")
        log.warning("the log level was changed, until the next start", before=before, now=level)
        return jsonify(level=level)

    return routes


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries somebody would like to see: all of it has to hold."""

    limit: int
    level: int
    """At least, as the standard library's `logging` counts."""
    request_id: str | None
    text: str | None
    """A part of the message or of any field, in lower case."""

    @classmethod
    def asked(cls, query: Mapping[str, str]) -> Wanted:
        """What the query asks for. Raises InvalidRequest."""
        level = query.get("level", LEVELS[0]).lower()
        if level not in LEVELS:
            raise InvalidRequest(f"'level' must be one of {', '.join(LEVELS)}.", param="level")
        text = query.get("text") or None
        if text is not None and len(text) > MOST_SEARCHED_CHARS:
            raise InvalidRequest(
                f"'text' must have {MOST_SEARCHED_CHARS} characters at most.", param="text"
            )
        return cls(
            whole(query, "limit", default=SHOWN, most=MOST_SHOWN),
            logging.getLevelNamesMapping()[level.upper()],
            query.get("request_id") or None,
            text and text.casefold(),
        )

    def includes(self, kept: Kept) -> bool:
        if kept.level < self.level:
            return False
        if self.request_id is not None and kept.told.get("request_id") != self.request_id:
            return False
        return self.text is None or self.text in _searched(kept)

    async def newest(self, tail: LogTail) -> list[Kept]:
        """The newest of them, the oldest first."""
        found: list[Kept] = []
        for number, kept in enumerate(reversed(tail.all()), 1):
            if self.includes(kept):
                found.append(kept)
            if len(found) == self.limit:
                break
            if number % IN_A_PIECE == 0:
                await trio.lowlevel.checkpoint()
        return found[::-1]


def shown(kept: Kept) -> dict[str, Json]:
    """An entry in the older product's shape."""
    told = kept.told
    fields = {n: v for n, v in told.items() if n not in _PLACES and n != "event"}
    places = {name: told[name] for name in _PLACES if told.get(name) is not None}
    return {**places, "message": told.get("event"), "fields": fields}


@dataclass(slots=True)
class _Following:
    """One client that reads the log as it grows. All that it holds is held in `run`."""

    tail: LogTail
    wanted: Wanted
    welcome: Callable[[], bool]
    request_id: str
    seq: int = 0
    """Of the last entry that was looked at."""

    async def run(self, downstream: Downstream) -> None:
        """Until the client leaves, or the balancer stops. Raises PeerGone."""
        ours = (("x-request-id", self.request_id),)
        try:
            with self.tail.following():
                self.seq = self.tail.last_seq
                if before := await self.wanted.newest(self.tail):
                    self.seq = before[0].seq - 1
                begin = b": the log follows\n\n"
                await tell_to_the_end(begin, self._next, downstream, ours, welcome=self.welcome)
        except LbError as refusal:
            await refuse(refusal, downstream, ours)

    async def _next(self) -> bytes | None:
        """What is new and wanted, and how much was missed; None at the end."""
        while True:
            await self.tail.wait_beyond(self.seq)
            found, dropped = self.tail.after(self.seq, IN_A_PIECE)
            if not (found or dropped):
                return None
            self.seq += dropped + len(found)
            pieces = [_frame(kept) for kept in found if self.wanted.includes(kept)]
            if dropped:
                pieces.insert(0, _lines({"type": "dropped", "count": dropped}))
            if pieces:
                return b"".join(pieces)
            await trio.lowlevel.checkpoint()


def _wants_stream() -> bool:
    return flag(request.args, "follow") or "text/event-stream" in request.headers.get("accept", "")


def _searched(kept: Kept) -> str:
    return json.dumps(kept.told, ensure_ascii=False).casefold()


def _frame(kept: Kept) -> bytes:
    return _lines({"type": "entry", "seq": kept.seq, **shown(kept)})


def _lines(told: Mapping[str, Json]) -> bytes:
    # json.dumps escapes line breaks and all that is not ASCII: one line, whatever it holds.
    return f"data: {json.dumps(told)}\n\n".encode()
