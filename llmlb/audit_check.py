"""Is a chain of audit entries as it was written, and if not, where does it begin to differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from llmlb.audit import GENESIS, AuditEntry, Link, hash_of


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of the stored chain, read in one moment."""

    anchor: Link | None
    """The last entry that retention took away; None: that is not on record."""
    head: Link | None
    """The last entry that was written; None: that is not on record."""
    rows: Sequence[Mapping[str, object]]
    """Entries as they are stored, which may be anything but for their `sequence`."""
    last: bool = True
    """Nothing is stored after these."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check of the chain has found; the message is for people."""

    valid: bool
    entries_checked: int
    chunks_checked: int
    message: str
    head: Link | None
    """Where the chain ends, according to the record of it."""
    first_bad: int | None = None
    """The number of the first entry that is missing, changed or not ours."""
    bad_chunk: int | None = None

    def as_json(self) -> dict[str, object]:
        """As the route and the command show it."""
        head = self.head
        return {
            "valid": self.valid,
            "batches_checked": self.chunks_checked,
            "entries_checked": self.entries_checked,
            "tampered_batch": self.bad_chunk,
            "first_bad_id": self.first_bad,
            "message": self.message,
            "head": None if head is None else {"id": head.sequence, "hash": head.hash},
        }


class ChainCheck:
    """Follows a chain chunk by chunk, from its anchor to its head, and holds none of it.

    Entries may be written and pruned meanwhile.
    """

    def __init__(self, known: Link | None = None) -> None:
        """*known*: an entry that is known to have been written, which the chain must pass."""
        self._known = known
        self.met = known is None
        """The chain has passed what is known; it cannot if that has been pruned."""
        self._begun = False
        self._at = GENESIS
        self._head: Link | None = None
        self._entries = self._chunks = 0
        self._fault: str | None = None
        self._first_bad: int | None = None

    @property
    def after(self) -> int | None:
        """The number after which to go on reading; None: at the very first that is stored."""
        return self._at.sequence if self._begun else None

    def take(self, chunk: Chunk) -> bool:
        """Check one more *chunk*, which begins behind `after`; whether to read on."""
        self._chunks += 1
        self._head = chunk.head
        if chunk.anchor is None or chunk.head is None:
            self._found(None, "The record of where the chain begins and ends is damaged.")
            return False
        if not self._begun or self._at.sequence < chunk.anchor.sequence:
            self._begun = True
            self._pass(chunk.anchor)
        for row in chunk.rows:
            if self._fault is None:
                self._follow(row)
        if self._fault is None and chunk.last:
            self._end(chunk.head)
        return self._fault is None and not chunk.last

    def result(self) -> Verification:
        """What was found, once there is nothing more to read."""
        valid = self._fault is None
        return Verification(
            valid,
            self._entries,
            self._chunks,
            self._fault or f"The chain is whole ({self._entries} entries).",
            self._head,
            self._first_bad,
            None if valid else self._chunks,
        )

    def _follow(self, row: Mapping[str, object]) -> None:
        at, number = self._at, cast("int", row["sequence"])
        if number <= at.sequence:
            self._found(number, f"Entry {number} stands where none was written.")
        elif number > at.sequence + 1:
            self._found(at.sequence + 1, f"Entry {at.sequence + 1} is missing.")
        elif not _is_unchanged(row):
            self._found(number, f"Entry {number} was changed.")
        elif row["previous_hash"] != at.hash:
            self._found(
                number,
                f"Entry {number} does not follow on from the one before: one of them was replaced.",
            )
        else:
            self._entries += 1
            self._pass(Link(number, str(row["hash"])))

    def _pass(self, link: Link) -> None:
        self._at = link
        if self._known is not None and self._known.sequence == link.sequence:
            self.met = True
            if self._known != link:
                self._found(link.sequence, f"Entry {link.sequence} is not the one that is known.")

    def _end(self, head: Link) -> None:
        """The chain has to end with its *head*, and not before what is known."""
        at = self._at
        most = max(head.sequence, 0 if self._known is None else self._known.sequence)
        if at.sequence < most:
            missing = at.sequence + 1
            self._found(missing, f"The last entries are missing: {missing} to {most}.")
        elif at.sequence > head.sequence:
            self._found(head.sequence + 1, f"Entries were added after entry {head.sequence}.")
        elif at != head:
            self._found(at.sequence, f"Entry {at.sequence}, the last one, was replaced.")

    def _found(self, sequence: int | None, fault: str) -> None:
        self._fault, self._first_bad = fault, sequence


def _is_unchanged(row: Mapping[str, object]) -> bool:
    try:
        return row["hash"] == hash_of(row)
    except TypeError:  # bytes, which no column was ever given
        return False


def verify(entries: Sequence[AuditEntry], anchor: Link, head: Link | None = None) -> Verification:
    """Whether *entries* follow on from *anchor*, one after the other, up to *head*."""
    if head is None:
        head = entries[-1].link if entries else anchor
    check = ChainCheck()
    check.take(Chunk(anchor, head, [entry.written() for entry in entries]))
    return check.result()
