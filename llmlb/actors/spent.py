"""Whom a client's request is counted under, and whom its tokens."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC

from llmlb.accounting import NOTHING_TOLD, Totals
from llmlb.model_names import usual
from llmlb.records import RequestRecord
from llmlb.store.burst import UsageKey


def usage_of(record: RequestRecord) -> Iterator[tuple[UsageKey, Totals]]:
    """The request under the endpoint that was asked last, the tokens each where they were made.

    So the tokens of an endpoint are the same here as in its attempts.
    """
    day = record.finished_at.astimezone(UTC).date()
    model = usual(record.model) if record.known_model else ""
    key_id = record.key_id or ""
    for attempt in record.attempts[:-1]:
        if attempt.usage != NOTHING_TOLD:
            key = UsageKey(attempt.endpoint_id, model, record.api, day, key_id)
            yield key, Totals.of_tokens(attempt.usage)
    usage = record.attempts[-1].usage if record.attempts else NOTHING_TOLD
    key = UsageKey(record.endpoint_id or "", model, record.api, day, key_id)
    yield key, Totals.of(record.outcome, record.duration_ms, usage)
