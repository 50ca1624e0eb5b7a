"""Which columns of endpoints hold secrets, and how all of them are sealed, opened or given up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pypika import Query

from llmlb.errors import StartupError
from llmlb.store.columns import Value
from llmlb.store.database import Transaction
from llmlb.store.rows import ENDPOINTS, NO_HEADERS, SECRETS
from llmlb.store.secret_box import SecretBox, WrongKey, is_sealed
from llmlb.store.sql import sql, update_by

_SELECT = sql(
    Query.from_(ENDPOINTS)
    .select(ENDPOINTS.id, ENDPOINTS.name, *SECRETS)
    .orderby(ENDPOINTS.registered_at, ENDPOINTS.sequence)
)
_SET = sql(update_by(ENDPOINTS, "id", tuple(SECRETS)))

_NOTHING: Mapping[str, Value] = {"api_key": None, "extra_headers": NO_HEADERS}


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An endpoint with secrets that no key opens."""

    endpoint_id: str
    name: str
    columns: tuple[str, ...]

    @property
    def lost(self) -> str:
        """What cannot be read, in words."""
        return " and ".join(SECRETS[column] for column in self.columns)


def unreadable(statements: Transaction, box: SecretBox) -> list[Unreadable]:
    """The endpoints whose secrets *box* cannot open, in order of registration."""
    found = []
    for row in statements.rows(_SELECT):
        columns = tuple(c for c in SECRETS if not _opens(box, row[c]))
        if columns:
            found.append(Unreadable(str(row["id"]), str(row["name"]), columns))
    return found


def refuse_unreadable(found: Sequence[Unreadable], box: SecretBox) -> None:
    """Raise StartupError if there are any."""
    if not found:
        return
    first, others = found[0], len(found) - 1
    more = f" (and those of {others} more)" if others else ""
    raise StartupError(
        f"The {first.lost} of the endpoint '{first.name}'{more} cannot be decrypted: {box.remedy}, "
        "or run 'llmlb secrets forget' and enter them again."
    )


def seal_plaintext(statements: Transaction, box: SecretBox) -> int:
    """Encrypt what is not; of how many endpoints."""
    rows = [row for row in statements.rows(_SELECT) if any(_is_plain(row[c]) for c in SECRETS)]
    for row in rows:
        _set(statements, row, {c: box.seal(row[c]) for c in SECRETS if _is_plain(row[c])})
    return len(rows)


def seal_anew(statements: Transaction, before: SecretBox, after: SecretBox) -> int:
    """Encrypt all with another key; of how many endpoints. Raises WrongKey."""
    rows = [row for row in statements.rows(_SELECT) if any(_is_sealed(row[c]) for c in SECRETS)]
    for row in rows:
        sealed = {c: after.seal(before.open(row[c])) for c in SECRETS if _is_sealed(row[c])}
        _set(statements, row, sealed)
    return len(rows)


def forget(statements: Transaction, lost: Iterable[Unreadable]) -> None:
    """Let the endpoints be without what cannot be read."""
    by_id = {unreadable.endpoint_id: unreadable for unreadable in lost}
    for row in statements.rows(_SELECT):
        if row["id"] in by_id:
            _set(statements, row, {c: _NOTHING[c] for c in by_id[row["id"]].columns})


def _set(statements: Transaction, row: Mapping[str, Any], new: Mapping[str, Value]) -> None:
    statements.run(_SET, *({**row, **new}[column] for column in SECRETS), row["id"])


def _is_plain(stored: object) -> bool:
    return isinstance(stored, str) and stored not in ("", NO_HEADERS) and not is_sealed(stored)


def _is_sealed(stored: object) -> bool:
    return isinstance(stored, str) and is_sealed(stored)


def _opens(box: SecretBox, stored: object) -> bool:
    try:
        if isinstance(stored, str):
            box.open(stored)
    except WrongKey:
        return False
    return True
