"""What goes on, as events: requests that have ended, what runs and waits, and the totals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from heapq import nlargest
from typing import TypeVar

from llmlb.accounting import Totals
from llmlb.actors.admission import AdmissionStatistics
from llmlb.catalog import Catalog
from llmlb.events import Event, LoadChanged, RequestFinished, StatisticsTick, TpsUpdated
from llmlb.records import RequestRecord
from llmlb.types import Status

MOST_NAMED = 100
"""Of the endpoints where requests run, and of the models that are waited for."""

MOST_CHARACTERS = 200
"""Of what a client has made up."""

Name = TypeVar("Name", bound=str)


def events_of(record: RequestRecord) -> Iterator[Event]:
    """What is told of a request: no address, no key, and nothing that was said in it."""
    usage = record.usage
    yield RequestFinished(
        id=record.id,
        request_id=record.request_id[:MOST_CHARACTERS],
        api=record.api,
        model=record.model[:MOST_CHARACTERS],
        endpoint_id=record.endpoint_id,
        endpoint_name=record.endpoint_name,
        outcome=record.outcome.value,
        status=record.status,
        error_code=record.own_code,
        stream=record.stream,
        waited_ms=round(record.waited_ms, 1),
        duration_ms=round(record.duration_ms, 1),
        time_to_first_token_ms=_rounded(record.time_to_first_token_ms),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        tokens_per_s=_rounded(record.tokens_per_s),
    )
    tps, tokens = record.tokens_per_s, usage.output_tokens
    if tps is not None and tokens is not None and record.endpoint_id is not None:
        yield TpsUpdated(
            endpoint_id=record.endpoint_id,
            model_id=(record.served_model or record.model)[:MOST_CHARACTERS],
            tps=round(tps, 1),
            output_tokens=tokens,
            duration_ms=round(record.attempts[-1].duration_ms, 1),
        )


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 1)


@dataclass(frozen=True, slots=True)
class HouseGauges:
    """How things are in a house, read from what its actors publish."""

    admission: Callable[[], AdmissionStatistics]
    requests: Callable[[], Totals]
    """All that clients have asked for."""
    catalog: Callable[[], Catalog]

    def load(self) -> LoadChanged:
        now = self.admission()
        return LoadChanged(
            in_flight=_largest(now.in_flight),
            waiting=_largest(now.waiting),
            total_in_flight=sum(now.in_flight.values()),
            total_waiting=sum(now.waiting.values()),
        )

    def totals(self) -> StatisticsTick:
        now, endpoints = self.admission(), self.catalog().endpoints.values()
        counted = self.requests()
        return StatisticsTick(
            total_requests=counted.total_requests,
            successful_requests=counted.successful_requests,
            failed_requests=counted.failed_requests,
            refused_requests=counted.refused_requests,
            cancelled_requests=counted.cancelled_requests,
            input_tokens=counted.input_tokens,
            output_tokens=counted.output_tokens,
            total_tokens=counted.total_tokens,
            total_in_flight=sum(now.in_flight.values()),
            total_waiting=sum(now.waiting.values()),
            endpoints_online=sum(endpoint.status is Status.ONLINE for endpoint in endpoints),
            endpoints_total=len(endpoints),
        )


def _largest(numbers: Mapping[Name, int]) -> Mapping[Name, int]:
    """Those that are not 0, at most 100 of them, the largest first."""
    named = nlargest(MOST_NAMED, numbers.items(), key=lambda pair: pair[1])
    return {name: number for name, number in named if number}
