"""Which imported records become rows: names made different, URLs kept unique, nothing twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from pypika import Query

from llmlb.store.database import Transaction
from llmlb.store.endpoints import add_endpoint
from llmlb.store.import_history import add_history, history_row
from llmlb.store.import_report import Fate, Report
from llmlb.store.older import UnreadableRecord, id_by_content
from llmlb.store.rows import ENDPOINTS
from llmlb.store.secret_box import SecretBox
from llmlb.store.sql import sql, update_by
from llmlb.types import Endpoint, EndpointId

Parse = Callable[[object, datetime], Endpoint]
Apply = Callable[[Transaction, Report, SecretBox, Iterable[object], datetime], None]

_PRESENT = sql(
    Query.from_(ENDPOINTS).select(ENDPOINTS.id, ENDPOINTS.name, ENDPOINTS.base_url, ENDPOINTS.notes)
)
_SET_NOTES = sql(update_by(ENDPOINTS, "id", ("notes",)))


def apply_endpoints(parse: Parse) -> Apply:
    """How records that *parse* reads are added to the endpoints."""

    def apply(
        statements: Transaction,
        report: Report,
        box: SecretBox,
        values: Iterable[object],
        now: datetime,
    ) -> None:
        present = _Present(statements, box)
        seen: set[str] = set()
        for number, value in enumerate(values, 1):
            try:
                endpoint = parse(value, now)
            except UnreadableRecord as error:
                report.note(number, Fate.UNREADABLE, remark=str(error), record=value)
                continue
            if endpoint.id in seen:  # a record that was copied and then edited
                endpoint = replace(endpoint, id=EndpointId(id_by_content(value)))
            seen.add(endpoint.id)
            _add(present, report, number, endpoint, value)

    return apply


def apply_history(
    statements: Transaction,
    report: Report,
    _box: SecretBox,
    values: Iterable[object],
    _now: datetime,
) -> None:
    """How records of the history are added: those whose id is new."""
    for number, value in enumerate(values, 1):
        try:
            row = history_row(value)
        except UnreadableRecord as error:
            report.note(number, Fate.UNREADABLE, remark=str(error), record=value)
            continue
        record_id = str(row["id"])
        new = not report.handled_before(record_id) and add_history(statements, row)
        report.note(number, Fate.IMPORTED if new else Fate.KNOWN, record_id=record_id)


class _Present:
    """The endpoints that are there, with those that were just added."""

    def __init__(self, statements: Transaction, box: SecretBox) -> None:
        self._statements = statements
        self._box = box
        rows = statements.rows(_PRESENT)
        self._names = {row["name"] for row in rows}
        self._by_url = {row["base_url"]: (row["id"], row["notes"]) for row in rows}
        self._ids = {row["id"] for row in rows}

    def has_id(self, endpoint_id: EndpointId) -> bool:
        return endpoint_id in self._ids

    def has_url(self, base_url: str) -> bool:
        return base_url in self._by_url

    def add(self, endpoint: Endpoint) -> Endpoint:
        """Insert *endpoint*, under a name that nobody has yet."""
        named = replace(endpoint, name=self._free(endpoint.name))
        add_endpoint(self._statements, named, self._box)
        self._names.add(named.name)
        self._ids.add(named.id)
        self._by_url[named.base_url] = (named.id, named.notes)
        return named

    def remark(self, base_url: str, line: str) -> None:
        """Add a line to the notes of the endpoint that has this URL."""
        endpoint_id, notes = self._by_url[base_url]
        notes = f"{notes}\n{line}" if notes else line
        self._by_url[base_url] = (endpoint_id, notes)
        self._statements.run(_SET_NOTES, notes, endpoint_id)

    def _free(self, name: str) -> str:
        if name not in self._names:
            return name
        numbered = (f"{name} ({number})" for number in itertools.count(2))
        return next(candidate for candidate in numbered if candidate not in self._names)


def _add(
    present: _Present, report: Report, number: int, endpoint: Endpoint, record: object
) -> None:
    if report.handled_before(endpoint.id) or present.has_id(endpoint.id):
        report.note(number, Fate.KNOWN, record_id=endpoint.id, record=record)
    elif present.has_url(endpoint.base_url):
        line = f"{report.file_name} also has '{endpoint.name}' with this URL; it was not added."
        present.remark(endpoint.base_url, line)
        report.note(
            number,
            Fate.SAME_URL,
            record_id=endpoint.id,
            remark=f"'{endpoint.name}' has the URL of another endpoint",
            record=record,
        )
    else:
        added = present.add(endpoint)
        renamed = added.name != endpoint.name
        remark = f"'{endpoint.name}' became '{added.name}'" if renamed else None
        report.note(number, Fate.IMPORTED, record_id=added.id, remark=remark)
