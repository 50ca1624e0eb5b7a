"""The chain of audit entries: whatever is done to it is found, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.audit import (
    FIELDS,
    GENESIS,
    TEXTS,
    ActorType,
    AuditEntry,
    AuditEvent,
    Link,
    canonical,
    chained,
    entry_after,
    hash_of,
)
from llmlb.audit_check import ChainCheck, Chunk, verify

NOW = datetime(2026, 3, 1, 12, 30, 1, 234567, tzinfo=UTC)


def event(number: int = 0, **said: Any) -> AuditEvent:
    """An event that differs from those of other numbers."""
    said.setdefault("actor_type", ActorType.USER)
    said.setdefault("action", "endpoint.create")
    return AuditEvent(at=NOW + timedelta(seconds=number), **said)


texts = st.text(max_size=12)
maybe = st.none() | texts
events = st.builds(
    AuditEvent,
    at=st.datetimes(timezones=st.just(UTC)),
    action=texts,
    actor_type=st.sampled_from(ActorType),
    status=st.none() | st.integers(100, 599),
    count=st.integers(1, 10**9),
    **{name: maybe for name in TEXTS if name != "action"},
)
chains = st.builds(
    lambda anchor, told: (anchor, list(chained(anchor, told))),
    st.builds(Link, st.integers(0, 1000), st.just("a" * 64)),
    st.lists(events, min_size=1, max_size=7),
)


# -- events


def test_a_text_is_cut_and_what_could_mislead_its_reader_is_replaced() -> None:
    told = event(
        actor_name="a" * 500,
        detail="one\ntwo\x1b[31m\u202egnp.exe\x00",
        object_id="\udcff",
        model="é 日本 🙂",
    )
    assert told.actor_name == "a" * 200
    assert told.detail == "one\ufffdtwo\ufffd[31m\ufffdgnp.exe\ufffd"
    assert told.object_id == "\ufffd"
    assert told.model == "é 日本 🙂"


def test_a_query_is_never_kept() -> None:
    assert event(path="/v1/models?key=sk-secret").path == "/v1/models"


def test_an_instant_is_kept_in_utc() -> None:
    tokyo = timezone(timedelta(hours=9))
    told = AuditEvent(NOW.astimezone(tokyo), "a", ActorType.SYSTEM)
    assert told.at.tzinfo is UTC
    assert entry_after(GENESIS, told) == entry_after(GENESIS, replace(told, at=NOW))


@given(events)
def test_what_has_been_cleaned_stays_as_it_is(told: AuditEvent) -> None:
    assert replace(told) == told
    assert all("\x00" not in (getattr(told, name) or "") for name in TEXTS)


# -- entries


def test_every_field_is_hashed_and_what_is_not_said_is_not() -> None:
    said: dict[str, Any] = dict.fromkeys(TEXTS, "x")
    whole = AuditEvent(at=NOW, actor_type=ActorType.API_KEY, status=200, **said)
    entry = entry_after(Link(4, "b" * 64), whole)
    hashed = json.loads(canonical(entry.written()))
    assert hashed.keys() == {*FIELDS, "sequence", "previous_hash"}
    assert hashed["at"] == "2026-03-01T12:30:01.234567Z"
    assert (hashed["sequence"], hashed["previous_hash"]) == (5, "b" * 64)
    little = json.loads(canonical(entry_after(GENESIS, event()).written()))
    assert little.keys() == {"at", "action", "actor_type", "count", "sequence", "previous_hash"}


def test_the_hash_of_an_entry_never_changes() -> None:
    """A new version that hashed otherwise would call every older log broken."""
    entry = entry_after(GENESIS, event(path="/api/endpoints", detail="é"))
    assert entry.hash == "bf5bd82d169e298f49cee45d67e5b3e8c766c9bd4ec38bd5064c49dede7e4d52"


@given(events, events)
def test_events_that_differ_have_entries_that_differ(one: AuditEvent, other: AuditEvent) -> None:
    same = entry_after(GENESIS, one).hash == entry_after(GENESIS, other).hash
    assert same == (one == other)


# -- a chain as it was written


@given(chains, st.integers(0, 7))
def test_an_untouched_chain_is_whole_from_any_anchor_on(
    chain: tuple[Link, list[AuditEntry]], pruned: int
) -> None:
    anchor, entries = chain
    assert verify(entries, anchor, entries[-1].link).valid
    kept = entries[pruned:]
    anchor = entries[pruned - 1].link if 0 < pruned <= len(entries) else anchor
    if pruned <= len(entries):
        found = verify(kept, anchor, entries[-1].link)
        assert (found.valid, found.entries_checked) == (True, len(kept))
        assert found.first_bad is found.bad_chunk is None


def test_a_log_without_entries_is_whole() -> None:
    found = verify([], GENESIS)
    assert (found.valid, found.entries_checked, found.head) == (True, 0, GENESIS)


# -- a chain that was changed


def other_value(draw: st.DataObject, name: str, value: object) -> Any:
    """Anything else that the field could hold."""
    kinds: dict[str, st.SearchStrategy[object]] = {
        "at": st.datetimes(timezones=st.just(UTC)),
        "actor_type": st.sampled_from(ActorType),
        "status": st.none() | st.integers(100, 599),
        "count": st.integers(1, 10**9),
        "action": texts,
    }
    return draw.draw(kinds.get(name, maybe).filter(lambda other: other != value))


@given(chains, st.data())
def test_any_other_value_of_any_field_is_found(
    chain: tuple[Link, list[AuditEntry]], data: st.DataObject
) -> None:
    anchor, entries = chain
    place = data.draw(st.integers(0, len(entries) - 1))
    entry = entries[place]
    name = data.draw(st.sampled_from(FIELDS))
    changed = replace(entry.event, **{name: other_value(data, name, getattr(entry.event, name))})
    if changed == entry.event:
        return  # the other value came to the same when it was cleaned
    entries[place] = replace(entry, event=changed)
    found = verify(entries, anchor)
    assert (found.valid, found.first_bad) == (False, entry.sequence)
    assert found.entries_checked == place
    assert found.message == f"Entry {entry.sequence} was changed."


@given(chains, st.data())
def test_a_changed_entry_with_a_hash_that_fits_is_found_by_the_next_or_by_the_head(
    chain: tuple[Link, list[AuditEntry]], data: st.DataObject
) -> None:
    anchor, entries = chain
    head = entries[-1].link
    place = data.draw(st.integers(0, len(entries) - 1))
    before = entries[place - 1].link if place else anchor
    forged = entry_after(before, replace(entries[place].event, count=2 * 10**9))
    entries[place] = forged
    found = verify(entries, anchor, head)
    last = place == len(entries) - 1
    assert not found.valid
    assert found.first_bad == forged.sequence + (not last)


@given(chains, st.data())
def test_an_entry_that_is_missing_is_found_the_last_one_too(
    chain: tuple[Link, list[AuditEntry]], data: st.DataObject
) -> None:
    anchor, entries = chain
    head = entries[-1].link
    place = data.draw(st.integers(0, len(entries) - 1))
    gone = entries[place:] if data.draw(st.booleans()) else [entries[place]]
    kept = [entry for entry in entries if entry not in gone]
    found = verify(kept, anchor, head)
    assert (found.valid, found.first_bad) == (False, gone[0].sequence)
    assert "missing" in found.message


@given(chains, events, st.data())
def test_an_entry_that_was_put_in_is_found(
    chain: tuple[Link, list[AuditEntry]], told: AuditEvent, data: st.DataObject
) -> None:
    anchor, entries = chain
    head = entries[-1].link
    place = data.draw(st.integers(0, len(entries)))
    before = entries[place - 1].link if place else anchor
    entries.insert(place, entry_after(before, replace(told, count=2 * 10**9)))
    assert not verify(entries, anchor, head).valid


@given(chains, st.data())
def test_another_order_is_found(chain: tuple[Link, list[AuditEntry]], data: st.DataObject) -> None:
    anchor, entries = chain
    other = data.draw(st.permutations(entries))
    assert verify(other, anchor, entries[-1].link).valid == (other == entries)
    numbered = [replace(e, sequence=anchor.sequence + 1 + n) for n, e in enumerate(other)]
    assert verify(numbered, anchor, entries[-1].link).valid == (other == entries)


@given(chains, st.data())
def test_another_number_or_hash_is_found(
    chain: tuple[Link, list[AuditEntry]], data: st.DataObject
) -> None:
    anchor, entries = chain
    head = entries[-1].link
    place = data.draw(st.integers(0, len(entries) - 1))
    change: dict[str, Any] = data.draw(
        st.sampled_from(
            [
                {"sequence": entries[place].sequence + 1},
                {"sequence": -1},
                {"previous_hash": "0" * 64},
                {"hash": "0" * 64},
                {"hash": ""},
            ]
        )
    )
    entries[place] = replace(entries[place], **change)
    assert not verify(entries, anchor, head).valid


def test_all_columns_of_an_entry_are_fields_that_are_hashed() -> None:
    assert {field.name for field in fields(AuditEvent)} == set(FIELDS)
    assert set(FIELDS) - set(TEXTS) == {"at", "actor_type", "status", "count"}


# -- bit by bit

ENTRIES = list(chained(GENESIS, [event(n) for n in range(10)]))
ROWS = [entry.written() for entry in ENTRIES]
HEAD = ENTRIES[-1].link


def test_a_chain_is_followed_over_chunks_and_the_chunk_with_the_fault_is_named() -> None:
    assert ChainCheck().after is None
    check = ChainCheck()
    assert check.take(Chunk(GENESIS, HEAD, ROWS[:4], last=False))
    assert check.after == 4
    assert check.take(Chunk(GENESIS, HEAD, ROWS[4:8], last=False))
    assert not check.take(Chunk(GENESIS, HEAD, [{**ROWS[8], "status": 200}, ROWS[9]]))
    assert check.result().as_json() == {
        "valid": False,
        "batches_checked": 3,
        "entries_checked": 8,
        "tampered_batch": 3,
        "first_bad_id": 9,
        "message": "Entry 9 was changed.",
        "head": {"id": 10, "hash": HEAD.hash},
    }


def test_what_is_written_and_pruned_meanwhile_breaks_nothing() -> None:
    check = ChainCheck(ENTRIES[5].link)
    assert check.take(Chunk(GENESIS, ENTRIES[5].link, ROWS[:2], last=False))
    assert not check.take(Chunk(ENTRIES[3].link, HEAD, ROWS[4:]))
    assert check.result().valid
    assert check.result().entries_checked == 8


@pytest.mark.parametrize("value", [b"1", 1.5, "x", 0])
def test_a_value_of_another_kind_is_a_change(value: object) -> None:
    for name in ("at", "status", "count", "detail", "hash", "previous_hash"):
        check = ChainCheck()
        check.take(Chunk(GENESIS, HEAD, [{**ROWS[0], name: value}, *ROWS[1:]]))
        assert check.result().first_bad == 1


@pytest.mark.parametrize(("anchor", "head"), [(None, HEAD), (GENESIS, None)])
def test_a_chain_whose_ends_are_not_on_record_is_not_whole(
    anchor: Link | None, head: Link | None
) -> None:
    check = ChainCheck()
    assert not check.take(Chunk(anchor, head, ROWS, last=False))
    found = check.result()
    assert (found.valid, found.first_bad, found.head) == (False, None, head)
    assert found.as_json()["head"] == (head and {"id": 10, "hash": HEAD.hash})


@pytest.mark.parametrize(
    ("head", "first_bad"),
    [
        (ENTRIES[6].link, 8),
        (Link(12, "c" * 64), 11),
        (Link(10, "c" * 64), 10),
        (GENESIS, 1),
    ],
)
def test_a_head_that_is_not_the_last_entry_is_found(head: Link, first_bad: int) -> None:
    found = verify(ENTRIES, GENESIS, head)
    assert (found.valid, found.first_bad) == (False, first_bad)


# -- what is known from elsewhere


@pytest.mark.parametrize("known", [ENTRIES[0].link, ENTRIES[4].link, HEAD, GENESIS])
def test_a_chain_passes_what_is_known_of_it(known: Link) -> None:
    check = ChainCheck(known)
    check.take(Chunk(GENESIS, HEAD, ROWS))
    assert check.met
    assert check.result().valid


def test_a_chain_that_was_made_anew_is_found_by_what_is_known() -> None:
    anew = list(chained(GENESIS, [event(n, detail="forged") for n in range(10)]))
    assert verify(anew, GENESIS, anew[-1].link).valid, "nothing in it could tell"
    for known in (ENTRIES[4].link, HEAD):
        check = ChainCheck(known)
        check.take(Chunk(GENESIS, anew[-1].link, [entry.written() for entry in anew]))
        found = check.result()
        assert (found.valid, found.first_bad) == (False, known.sequence)
        assert found.message == f"Entry {known.sequence} is not the one that is known."


def test_a_chain_that_ends_before_what_is_known_is_found() -> None:
    check = ChainCheck(HEAD)
    check.take(Chunk(GENESIS, ENTRIES[6].link, ROWS[:7]))
    found = check.result()
    assert (found.valid, found.first_bad) == (False, 8)
    assert found.message == "The last entries are missing: 8 to 10."


def test_what_is_known_and_was_pruned_cannot_be_met() -> None:
    check = ChainCheck(ENTRIES[1].link)
    check.take(Chunk(ENTRIES[4].link, HEAD, ROWS[5:]))
    assert check.result().valid
    assert not check.met


def test_the_anchor_itself_may_be_what_is_known() -> None:
    check = ChainCheck(replace(ENTRIES[4].link, hash="d" * 64))
    check.take(Chunk(ENTRIES[4].link, HEAD, ROWS[5:]))
    assert check.result().first_bad == 5


def test_a_row_is_hashed_as_its_entry_is() -> None:
    assert all(hash_of(row) == entry.hash for row, entry in zip(ROWS, ENTRIES, strict=True))
