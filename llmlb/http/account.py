"""What is written down of an exchange when it is over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import trio

from llmlb.accounting import Outcome
from llmlb.errors import LbError
from llmlb.house import House
from llmlb.http.counted import Counted
from llmlb.http.downstream import Asked
from llmlb.http.keeping import kept_reason, kept_request, kept_response
from llmlb.http.trail import Trail
from llmlb.records import CLIENT_LEFT, MOST_TEXT_CHARS, Bodies, RequestRecord
from llmlb.types import Api


@dataclass(slots=True)
class Account:
    """One exchange from its arrival on. Closing it is synchronous: also while being cancelled."""

    house: House
    api: Api
    asked: Asked
    sent: Counted
    trail: Trail
    finished: bool = False
    """It came to its end, good or bad."""

    def close(self) -> None:
        """Tell the house what became of it."""
        record = self._record()
        self.house.answered(record)
        self.trail.trace.close(record)

    def _record(self) -> RequestRecord:
        trail, now = self.trail, self.house.world.now()
        lasted_s = trio.current_time() - trail.began_s
        error = trail.refusal or trail.broken
        last = trail.tries[-1] if trail.tries else None
        status = self.sent.status
        if status is None:
            status = CLIENT_LEFT if error is None else error.http_status()
        caller = trail.caller
        return RequestRecord(
            id=self.house.world.new_id(),
            request_id=self.asked.request_id,
            # not asked for at arrival: a clock that jumps must not make it end before it came
            arrived_at=now - timedelta(seconds=lasted_s),
            finished_at=now,
            api=self.api,
            path=(self.asked.asked_path or self.asked.path).partition("?")[0],
            stream=trail.stream,
            model=trail.asked_model[:MOST_TEXT_CHARS],
            known_model=self._known(trail.asked_model),
            served_model=None if last is None else last.model,
            endpoint_id=None if last is None else last.endpoint_id,
            endpoint_name=None if last is None else last.endpoint_name,
            only=trail.only is not None,
            key_id=None if caller.key is None else caller.key.id,
            user_id=None if caller.user is None else caller.user.id,
            client_address=caller.address,
            outcome=self._outcome(error),
            status=status,
            error_code=None if error is None else error.error_code(),
            error_message=None if error is None else kept_reason(error.message),
            waited_ms=trail.waited_s * 1000,
            duration_ms=lasted_s * 1000,
            time_to_first_token_ms=None if last is None else last.time_to_first_token_ms,
            usage=trail.usage,
            request_bytes=trail.request_bytes,
            response_bytes=self.sent.sent_bytes,
            decisions=tuple(trail.decisions),
            attempts=tuple(trail.tries),
            bodies=self._bodies() if self.sent.keeps_bytes else None,
        )

    def _known(self, model: str) -> bool:
        """Whether it is one of the few names that endpoints or the operator have given."""
        house = self.house
        return bool(house.registry.catalog.offering(model) or house.fallbacks_of(model))

    def _bodies(self) -> Bodies:
        most_bytes, sent = self.house.settings.history_body_bytes, self.sent
        return Bodies(
            kept_request(self.trail.body, most_bytes),
            kept_response(bytes(sent.first), sent.sent_bytes, sent.headers, most_bytes),
        )

    def _outcome(self, error: LbError | None) -> Outcome:
        if error is not None:
            return Outcome.REFUSED if error.http_status() < 500 else Outcome.FAILED
        tries = self.trail.tries
        delivered = bool(tries) and tries[-1].outcome is Outcome.SUCCEEDED
        return Outcome.SUCCEEDED if self.finished or delivered else Outcome.CANCELLED
