"""Where in the history a text is looked for, and by which indexes it is found there."""

from __future__ import annotations

from pypika import Criterion, Query, Table
from pypika.queries import QueryBuilder
from pypika.terms import ExistsCriterion, Term

from llmlb.store.columns import storable
from llmlb.store.database import Transaction
from llmlb.store.history_rows import DETAILS, HISTORY
from llmlb.store.history_ways import Condition, Way, any_of, equals, length
from llmlb.store.sql import NUMBER, VALUE, sql
from llmlb.store.text_search import holds, part

MOST_NAMES = 20
"""Where a text is in more names than that, rows are looked through in order of time."""

MOST_IDS = 250
"""Or begins more request ids than that. There are more of them, for each has few rows."""

MOST_COMPARED = 2_000
"""Or where there are more names of a kind: to compare so many takes some ten milliseconds."""

_LAST_CHARACTER = "\U0010ffff"

_MODELS = Table("history_models")
_MATCHING_MODELS = sql(
    Query.from_(_MODELS)
    .select(_MODELS.model)
    .where(holds(_MODELS.model))
    .orderby(_MODELS.model)
    .limit(NUMBER)
)

_NAMES = ("model", "served_model", "endpoint_name")
_SAID = ("error_code", "error_message")
_BODIES = ("request_body", "response_body")

# Word for word what the partial indexes are of, for otherwise SQLite does not use them.
_RENAMED: Term = HISTORY.served_model != HISTORY.model
_TOLD: Term = HISTORY.error_code.isnotnull() | HISTORY.error_message.isnotnull()
_KEPT: Term = HISTORY.has_bodies


def _next(column: str, *which: Term) -> QueryBuilder:
    """The first value of a column behind another."""
    field = HISTORY[column]
    query = Query.from_(HISTORY).select(field.as_("value"))
    return query.where(Criterion.all([*which, field > VALUE])).orderby(field).limit(NUMBER)


def _next_name(column: str, *which: Term) -> str:
    """The same, and whether a text is in it."""
    return sql(_next(column, *which).select(holds(HISTORY[column]).as_("matches")))


_NEXT_SERVED_MODEL = _next_name("served_model", _RENAMED)
_NEXT_ENDPOINT_NAME = _next_name("endpoint_name")
_NEXT_REQUEST_ID = sql(_next("request_id"))


def ways_to_text(statements: Transaction, text: str) -> list[Way] | None:
    """The ways that together lead to each row with *text*, some of them to the same rows.

    None: there would be too many. Raises sqlite3.Error.
    """
    text = str(storable(text))
    models = matching_models(statements, text)
    served_models = _matching(statements, _NEXT_SERVED_MODEL, text)
    endpoint_names = _matching(statements, _NEXT_ENDPOINT_NAME, text)
    request_ids = _ids_that_begin(statements, text)
    if models is None or served_models is None or endpoint_names is None or request_ids is None:
        return None
    return [
        *(Way((equals("model", name),)) for name in models),
        *(Way((equals("served_model", name), Condition(_RENAMED))) for name in served_models),
        *(Way((equals("endpoint_name", name),)) for name in endpoint_names),
        *(Way((equals("request_id", request_id),)) for request_id in request_ids),
        Way((Condition(_TOLD),), (any_of([_in(column, text) for column in _SAID]),)),
        Way((Condition(_KEPT),), (_in_bodies(text),)),
    ]


def has_text(statements: Transaction, text: str) -> Condition:
    """That *text* is somewhere in a row, whichever way leads there. Raises sqlite3.Error."""
    text = str(storable(text))
    columns = [_in(column, text) for column in (*_NAMES, *_SAID)]
    within = _in_bodies(text)
    any_kept = length(statements, [Way((Condition(_KEPT),))], 1) > 0
    kept = Condition(Criterion.all([_KEPT, within.test]), within.values, slow=any_kept)
    return any_of([*columns, _begins(text), kept])


def matching_models(statements: Transaction, model_part: str) -> list[str] | None:
    """The models whose names hold *model_part*; None: too many. Raises sqlite3.Error."""
    rows = statements.rows(_MATCHING_MODELS, *part(model_part), MOST_NAMES + 1)
    return None if len(rows) > MOST_NAMES else [row["model"] for row in rows]


def _matching(statements: Transaction, next_one: str, text: str) -> list[str] | None:
    """The values that hold *text*: an index has them in order, so that each is found at once."""
    found: list[str] = []
    value = ""
    for _ in range(MOST_COMPARED):
        row = next(statements.each(next_one, *part(text), value, 1), None)
        if row is None:
            return found
        value = row["value"]
        if row["matches"]:
            found.append(value)
        if len(found) > MOST_NAMES:
            break
    return None


def _ids_that_begin(statements: Transaction, text: str) -> list[str] | None:
    """*text* itself, which may be an id, and the ids that begin with it."""
    found = [text]
    while len(found) <= MOST_IDS:
        row = next(statements.each(_NEXT_REQUEST_ID, found[-1], 1), None)
        if row is None or not row["value"].startswith(text):
            return found
        found.append(row["value"])
    return None


def _in(column: str, text: str) -> Condition:
    return Condition(holds(HISTORY[column]), part(text))


def _begins(text: str) -> Condition:
    """That the request's id begins so: unlike `LIKE`, it knows upper case from lower."""
    field = HISTORY.request_id
    return Condition((field >= VALUE) & (field <= VALUE), (text, text + _LAST_CHARACTER))


def _in_bodies(text: str) -> Condition:
    bodies = Query.from_(DETAILS).select(1).where(DETAILS.sequence == HISTORY.sequence)
    either = any_of([Condition(holds(DETAILS[body]), part(text)) for body in _BODIES])
    within = ExistsCriterion(bodies.where(either.test))  # type: ignore[no-untyped-call]
    # the 1 that is selected is bound, too, before what is looked for in the bodies
    return Condition(within, (1, *either.values), slow=True)
