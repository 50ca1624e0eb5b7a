"""How an audit entry stands in the database, and what is shown of one that was edited by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pypika import Table

from llmlb.audit import FIELDS, TEXTS, ActorType, AuditEntry, AuditEvent
from llmlb.store.columns import instant_of

ENTRIES = Table("audit_entries")
COLUMNS = ("sequence", *FIELDS, "previous_hash", "hash")

_UNKNOWN_INSTANT = datetime(1970, 1, 1, tzinfo=UTC)
_ACTOR_TYPES = frozenset(ActorType)


def shown_entry(row: Mapping[str, Any]) -> AuditEntry:
    """The entry of one row, for people: what cannot be read is replaced.

    Whether it is as it was written is another question, which its hash answers.
    """
    said: dict[str, Any] = {name: _text(row[name]) for name in TEXTS}
    said["action"] = said["action"] or ""
    kind, count = row["actor_type"], row["count"]
    event = AuditEvent(
        at=instant_of(row["at"]) or _UNKNOWN_INSTANT,
        actor_type=ActorType(kind) if kind in _ACTOR_TYPES else ActorType.ANONYMOUS,
        status=row["status"] if isinstance(row["status"], int) else None,
        count=count if isinstance(count, int) else 1,
        **said,
    )
    previous_hash, own_hash = _text(row["previous_hash"]), _text(row["hash"])
    return AuditEntry(event, row["sequence"], previous_hash or "", own_hash or "")


def _text(stored: object) -> str | None:
    return stored if isinstance(stored, str) else None
