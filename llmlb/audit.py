"""What the audit log is told, and how its entries are chained so that a change shows."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum

MOST_CHARS = 200
_LONGER = {"path": 500, "detail": 1000}
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f"  # control characters
    r"\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff"  # unseen, or turn the text around
    r"\ud800-\udfff]"  # half a character, which UTF-8 cannot hold
)
_REPLACED = "\ufffd"


class ActorType(StrEnum):
    """As what somebody acted."""

    USER = "user"
    API_KEY = "api_key"
    ANONYMOUS = "anonymous"
    SYSTEM = "system"
    """llmlb itself."""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Who did what to which object, from where. Never a body, a query or a secret.

    Texts are cut to a bound, and characters that could mislead whoever reads them are replaced.
    """

    at: datetime
    action: str
    """A short verb that stays the same: `endpoint.create`, `key.delete`, `auth.failed`."""
    actor_type: ActorType
    actor_id: str | None = None
    actor_name: str | None = None
    api_key_id: str | None = None
    api_key_owner_id: str | None = None
    client_address: str | None = None
    method: str | None = None
    path: str | None = None
    status: int | None = None
    object_type: str | None = None
    object_id: str | None = None
    endpoint_id: str | None = None
    model: str | None = None
    request_id: str | None = None
    detail: str | None = None
    count: int = 1
    """So many times it happened, the last time at `at`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", self.at.astimezone(UTC))
        if self.path is not None:
            object.__setattr__(self, "path", self.path.partition("?")[0])
        for name in TEXTS:
            text = getattr(self, name)
            if text is not None:
                object.__setattr__(self, name, cleaned(text[: _LONGER.get(name, MOST_CHARS)]))


def cleaned(text: str) -> str:
    """*text* as it is written down: what could mislead whoever reads it is replaced."""
    return _UNSAFE.sub(_REPLACED, text)


FIELDS = tuple(field.name for field in fields(AuditEvent))
TEXTS = tuple(name for name in FIELDS if name not in {"at", "actor_type", "status", "count"})


@dataclass(frozen=True, slots=True)
class Link:
    """One place in the chain: the entry of that number has, or had, that hash."""

    sequence: int
    hash: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.hash}"


GENESIS = Link(0, "0" * 64)
"""What the first entry follows on from."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An event with its place in the chain."""

    event: AuditEvent
    sequence: int
    previous_hash: str
    hash: str

    @property
    def link(self) -> Link:
        """What the next entry follows on from."""
        return Link(self.sequence, self.hash)

    def written(self) -> dict[str, str | int | None]:
        """All of it as it is stored."""
        return {**_written(self.event, self.sequence, self.previous_hash), "hash": self.hash}


class ChainMoved(Exception):
    """The stored chain does not end where it was left: somebody else has changed it."""

    def __init__(self, found: Link) -> None:
        super().__init__(f"the chain ends with entry {found.sequence}")
        self.found = found
        """Where it ends now."""


def canonical(written: Mapping[str, object]) -> bytes:
    """The one way to spell an entry, as it is stored, before it is hashed: all but its own hash.

    What is not said is left out, so that a field that a later version adds changes no old hash.
    Raises TypeError for what is no text and no number.
    """
    said = {name: value for name, value in written.items() if value is not None and name != "hash"}
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()


def hash_of(written: Mapping[str, object]) -> str:
    """SHA-256 over the hash of the entry before and every field of this one, in hex."""
    return hashlib.sha256(canonical(written)).hexdigest()


def entry_after(previous: Link, event: AuditEvent) -> AuditEntry:
    """The entry that follows on from *previous*."""
    sequence = previous.sequence + 1
    own_hash = hash_of(_written(event, sequence, previous.hash))
    return AuditEntry(event, sequence, previous.hash, own_hash)


def chained(previous: Link, events: Sequence[AuditEvent]) -> Iterator[AuditEntry]:
    """One entry per event, each following on from the one before."""
    for event in events:
        entry = entry_after(previous, event)
        yield entry
        previous = entry.link


def _written(event: AuditEvent, sequence: int, previous_hash: str) -> dict[str, str | int | None]:
    said = {name: getattr(event, name) for name in FIELDS}
    said["at"] = event.at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    said["actor_type"] = event.actor_type.value
    return {"sequence": sequence, **said, "previous_hash": previous_hash}
