"""What is looked for in the history, and by which of its indexes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from pypika import Query, Table

from llmlb.accounting import Outcome
from llmlb.addresses import group_of
from llmlb.store.columns import instant_text
from llmlb.store.database import Transaction
from llmlb.store.history_rows import HISTORY, REQUEST_TYPES
from llmlb.store.history_text import has_text, matching_models, ways_to_text
from llmlb.store.history_ways import Condition, Way, any_of, equals, length
from llmlb.store.sql import VALUE, sql
from llmlb.store.text_search import holds, part
from llmlb.types import Api

MOST_COUNTED = 10_000
"""What is more is "10,000 at least"."""

FEW_ROWS = 1_000
"""What holds for no more is gone along without a look at how many others there are."""

MOST_COMPARED_ROWS = 100_000
"""What holds for more is not told from what holds for still more."""

_FAILURES = tuple(outcome for outcome in Outcome if outcome is not Outcome.SUCCEEDED)


@dataclass(frozen=True, slots=True)
class HistorySearch:
    """Which requests are wanted: those for which all that is said here holds."""

    model_part: str | None = None
    endpoint_id: str | None = None
    outcomes: tuple[Outcome, ...] = ()
    """Any of them; none: whatever the outcome."""
    error_code: str | None = None
    api_key_id: str | None = None
    client: str | None = None
    """An address, or a group of them."""
    request_id: str | None = None
    request_type: Api | None = None
    time_from: datetime | None = None
    time_to: datetime | None = None
    text: str | None = None

    @property
    def everything(self) -> bool:
        """Nothing is asked for in particular."""
        return self == HistorySearch()


def outcomes_of(*, success: bool) -> tuple[Outcome, ...]:
    """What the older product's two words for a status stand for."""
    return (Outcome.SUCCEEDED,) if success else _FAILURES


@dataclass(frozen=True, slots=True)
class _Demand:
    """One thing that is asked for."""

    test: Condition
    ways: list[Way] | None
    """That lead to the rows for which it holds; None: there is no index for it, or too many."""


def ways_to(statements: Transaction, wanted: HistorySearch) -> list[Way]:
    """The ways that lead to all that is *wanted*, some of them perhaps to the same rows.

    The index is chosen here and not by SQLite, which knows nothing of how often a value occurs.
    Raises sqlite3.Error.
    """
    demands = [*_demands(statements, wanted)]
    if any(demand.ways == [] for demand in demands):
        return []  # nothing was asked for that has such a name
    within = tuple(_times(wanted))
    reached = [demand for demand in demands if demand.ways is not None]
    best = _rarest(statements, reached, within)
    also = tuple(demand.test for demand in demands if demand is not best)
    ways = [Way()] if best is None or best.ways is None else best.ways
    return [Way((*way.along, *within), (*way.also, *also)) for way in ways]


def _demands(statements: Transaction, wanted: HistorySearch) -> Iterator[_Demand]:
    """First that which presumably holds for the fewest requests; a text may be in most."""
    for column, value in (
        ("request_id", wanted.request_id),
        ("error_code", wanted.error_code),
        ("api_key_id", wanted.api_key_id),
        ("client_group", group_of(wanted.client)),
    ):
        if value is not None:
            yield _one_of(column, [value])
    if wanted.model_part is not None:
        models = matching_models(statements, wanted.model_part)
        if models is None:
            yield _Demand(Condition(holds(HISTORY.model), part(wanted.model_part)), None)
        else:
            yield _one_of("model", models)
    if wanted.endpoint_id is not None:
        yield _one_of("endpoint_id", [wanted.endpoint_id])
    if wanted.outcomes:
        yield _one_of("outcome", [outcome.value for outcome in wanted.outcomes])
    if wanted.text is not None:
        text = wanted.text
        yield _Demand(has_text(statements, text), ways_to_text(statements, text))
    if wanted.client is not None and wanted.client != group_of(wanted.client):
        yield _Demand(equals("client_ip", wanted.client), None)
    if wanted.request_type is not None:
        yield _Demand(equals("request_type", REQUEST_TYPES[wanted.request_type]), None)


def _one_of(column: str, values: Sequence[str]) -> _Demand:
    """A column that has an index."""
    tests = [equals(column, value) for value in values]
    return _Demand(any_of(tests), [Way((test,)) for test in tests])


def _times(wanted: HistorySearch) -> Iterator[Condition]:
    if wanted.time_from is not None:
        yield Condition(HISTORY.timestamp >= VALUE, (instant_text(wanted.time_from),))
    if wanted.time_to is not None:
        yield Condition(HISTORY.timestamp <= VALUE, (instant_text(wanted.time_to),))


def _rarest(
    statements: Transaction, demands: Sequence[_Demand], within: tuple[Condition, ...]
) -> _Demand | None:
    """What holds for the fewest rows, as far as they are counted, and else the first."""
    best, fewest = next(iter(demands), None), MOST_COMPARED_ROWS
    for demand in demands if len(demands) > 1 else ():
        ways = [Way((*way.along, *within)) for way in demand.ways or ()]
        n_rows = length(statements, ways, fewest)
        if n_rows < fewest:
            best, fewest = demand, n_rows
        if fewest < FEW_ROWS:
            break
    return best


_SIZE = Table("history_size")
_SELECT_SIZE = sql(Query.from_(_SIZE).select(_SIZE.requests, _SIZE.bytes))


def size(statements: Transaction) -> tuple[int, int]:
    """How many requests there are, and how many bytes they take. Raises sqlite3.Error."""
    (row,) = statements.rows(_SELECT_SIZE)
    return int(row["requests"]), int(row["bytes"])
