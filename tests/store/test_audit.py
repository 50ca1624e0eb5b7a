"""The audit log on disk: what is appended is there, what is done to the file is found."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import llmlb.store.audit as stored
from llmlb.audit import (
    FIELDS,
    GENESIS,
    TEXTS,
    ActorType,
    AuditEvent,
    ChainMoved,
    Link,
    entry_after,
)
from llmlb.audit_check import ChainCheck, Verification
from llmlb.errors import StartupError, StoreUnavailable
from llmlb.store.audit_file import check_file
from llmlb.store.audit_rows import COLUMNS
from llmlb.store.audit_search import SEARCHED, AuditSearch
from llmlb.store.columns import Value
from llmlb.store.database import Transaction
from llmlb.store.opening import Store
from tests.store.conftest import NOW, OpenStore


def event(number: int = 0, **said: Any) -> AuditEvent:
    said.setdefault("actor_type", ActorType.USER)
    said.setdefault("action", f"act.{number}")
    said.setdefault("at", NOW + timedelta(seconds=number))
    return AuditEvent(**said)


async def fill(store: Store, most: int, *, burst: int = 700) -> Link:
    end = await store.audit.place()
    for first in range(0, most, burst):
        events = [event(n) for n in range(first, min(first + burst, most))]
        end = await store.audit.append(end, events)
    return end


async def checked(store: Store, known: Link | None = None) -> Verification:
    check = ChainCheck(known)
    while await store.audit.check_some(check):
        pass
    return check.result()


async def all_of(store: Store, **wanted: Any) -> list[AuditEvent]:
    entries, total = await store.audit.search(AuditSearch(500, **wanted))
    assert len(entries) == total
    return [entry.event for entry in reversed(entries)]


Spoil = Callable[[sqlite3.Connection], object]


def run(statement: str, *values: Value) -> Spoil:
    return lambda connection: connection.execute(statement, values)


@contextmanager
def free_hand(database: Path) -> Iterator[sqlite3.Connection]:
    """As somebody who can write the file, and has got rid of the triggers."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        names = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'audit%'"
        ).fetchall()
        assert len(names) == 5
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for (name,) in names:
            connection.execute(f"DROP TRIGGER {name}")
        yield connection


# -- appending


async def test_entries_survive_a_restart_with_every_field(opened: OpenStore) -> None:
    store = await opened()
    whole = AuditEvent(
        at=NOW, actor_type=ActorType.API_KEY, status=201, count=7, **{n: f"{n} é" for n in TEXTS}
    )
    end = await store.audit.append(GENESIS, [whole, event(1)])
    assert end.sequence == 2
    await store.close()
    store = await opened()
    assert await store.audit.place() == end
    assert await all_of(store) == [whole, event(1)]
    assert await checked(store, end) == await checked(store)
    assert (await checked(store)).valid


async def test_an_entry_follows_on_from_the_last_one_written(store: Store) -> None:
    assert await store.audit.place() == GENESIS
    first = await store.audit.append(GENESIS, [event(0)])
    assert first == entry_after(GENESIS, event(0)).link
    assert await store.audit.append(first, [event(1)]) == entry_after(first, event(1)).link


async def test_whoever_believes_the_chain_to_end_elsewhere_writes_nothing(store: Store) -> None:
    end = await fill(store, 3)
    for wrong in (GENESIS, Link(2, end.hash), Link(3, "0" * 64), Link(9, end.hash)):
        with pytest.raises(ChainMoved, match="ends with entry 3") as moved:
            await store.audit.append(wrong, [event(3)])
        assert moved.value.found == end
    assert len(await all_of(store)) == 3
    assert store.health.condition.well, "the database is not at fault"


async def test_a_burst_that_was_written_though_that_was_not_heard_is_not_written_twice(
    store: Store,
) -> None:
    end = await fill(store, 3)
    burst = [event(3), event(4)]
    once = await store.audit.append(end, burst)
    assert await store.audit.append(end, burst) == once
    assert len(await all_of(store)) == 5


async def test_a_burst_is_written_whole_or_not_at_all(store: Store) -> None:
    end = await fill(store, 3)
    await store._database.run(
        lambda connection: connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON audit_entries WHEN NEW.action = 'act.4' "
            "BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    )
    with pytest.raises(StoreUnavailable):
        await store.audit.append(end, [event(3), event(4)])
    assert await store.audit.place() == end
    assert len(await all_of(store)) == 3


async def test_what_was_written_is_refused_to_be_changed(store: Store) -> None:
    await fill(store, 3)
    statements = (
        "UPDATE audit_entries SET detail = 'x' WHERE sequence = 2",
        "DELETE FROM audit_entries WHERE sequence = 3",
        "DELETE FROM audit_entries",
        "INSERT OR REPLACE INTO audit_entries SELECT * FROM audit_entries WHERE sequence = 2",
        "INSERT INTO audit_entries VALUES (-1" + ", 1" * 20 + ")",
        "UPDATE audit_marks SET sequence = 1 WHERE name = 'head'",
        "UPDATE audit_marks SET name = 'x' WHERE name = 'anchor'",
        "DELETE FROM audit_marks",
    )
    for statement in statements:
        with pytest.raises(sqlite3.IntegrityError, match="audit"):
            await store._database.run(run(statement))
    assert (await checked(store)).valid


# -- checking


async def test_a_long_chain_is_checked_a_thousand_at_a_time(store: Store) -> None:
    end = await fill(store, 2500)
    found = await checked(store, end)
    assert (found.valid, found.entries_checked, found.chunks_checked) == (True, 2500, 3)
    assert found.head == end


async def test_an_end_on_a_whole_chunk_is_seen(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store, stored.CHUNK)
    found = await checked(store)
    assert (found.valid, found.chunks_checked) == (True, 2)


OTHER: dict[str, Value] = {
    "at": "2026-03-01T12:30:05Z",  # the same instant, spelled otherwise
    "actor_type": "system",
    "status": 200,
    "count": 2,
    **dict.fromkeys(TEXTS, "x"),
    "previous_hash": "0" * 64,
    "hash": "0" * 64,
}

TAMPERED: dict[str, tuple[Spoil, int | None]] = {
    **{
        f"{column} changed": (
            run(f"UPDATE audit_entries SET {column} = ? WHERE sequence = 6", v),
            6,
        )
        for column, v in OTHER.items()
    },
    "bytes": (run("UPDATE audit_entries SET detail = x'00ff' WHERE sequence = 6"), 6),
    "no kind": (run("UPDATE audit_entries SET actor_type = 'god' WHERE sequence = 6"), 6),
    "no instant": (run("UPDATE audit_entries SET at = 'then' WHERE sequence = 6"), 6),
    "a text for a number": (run("UPDATE audit_entries SET status = 'ok' WHERE sequence = 6"), 6),
    "first gone": (run("DELETE FROM audit_entries WHERE sequence = 1"), 1),
    "one gone": (run("DELETE FROM audit_entries WHERE sequence = 6"), 6),
    "tail gone": (run("DELETE FROM audit_entries WHERE sequence > 6"), 7),
    "all gone": (run("DELETE FROM audit_entries"), 1),
    "renumbered": (run("UPDATE audit_entries SET sequence = 99 WHERE sequence = 12"), 12),
    "one before all": (run("UPDATE audit_entries SET sequence = -5 WHERE sequence = 6"), -5),
    "one at zero": (run("UPDATE audit_entries SET sequence = 0 WHERE sequence = 6"), 0),
    "head moved back": (
        run(
            "UPDATE audit_marks SET sequence = 6, hash = (SELECT hash FROM audit_entries "
            "WHERE sequence = 6) WHERE name = 'head'"
        ),
        7,
    ),
    "head of another": (run("UPDATE audit_marks SET hash = 'x' WHERE name = 'head'"), 12),
    "head gone": (run("DELETE FROM audit_marks WHERE name = 'head'"), None),
    "anchor gone": (run("DELETE FROM audit_marks WHERE name = 'anchor'"), None),
    "head a text": (run("UPDATE audit_marks SET sequence = 'x' WHERE name = 'head'"), None),
    "head bytes": (run("UPDATE audit_marks SET hash = x'00' WHERE name = 'head'"), None),
    "anchor moved": (run("UPDATE audit_marks SET sequence = 3 WHERE name = 'anchor'"), 1),
}


@pytest.mark.parametrize("name", TAMPERED)
async def test_what_is_done_to_the_file_is_found_and_stays_found(
    name: str, opened: OpenStore, database: Path
) -> None:
    store = await opened()
    await fill(store, 12)
    await store.close()
    spoil, first_bad = TAMPERED[name]
    with free_hand(database) as connection:
        spoil(connection)

    store = await opened()
    found = await checked(store)
    assert (found.valid, found.first_bad) == (False, first_bad), found.message
    check = ChainCheck()
    check_file(f"sqlite:{database}", check)
    assert check.result() == found, "beside the running one, too"
    shown, _ = await store.audit.search(AuditSearch(500))
    assert all(isinstance(entry.event.at, datetime) for entry in shown), "it can be looked at"
    await store.audit.figures(NOW)
    end = await store.audit.append(await store.audit.place(), [event(50), event(51)])
    assert end.sequence > 12 or "gone" not in name
    found = await checked(store)
    if name == "head moved back":
        assert found.valid, "no entry was lost, and the chain goes on behind the last one"
        return
    assert not found.valid, "what is written since does not hide it"
    assert found.first_bad == first_bad or "head" in name


async def test_what_cannot_be_read_is_shown_as_far_as_it_can(
    opened: OpenStore, database: Path
) -> None:
    store = await opened()
    await fill(store, 1)
    with free_hand(database) as connection:
        connection.execute(
            "UPDATE audit_entries SET at = 'x', actor_type = 'x', status = 'x', count = 'x',"
            " action = x'00', detail = x'00', hash = x'00', previous_hash = x'00', method = x'47'"
        )
    ((entry,), _) = await store.audit.search(AuditSearch(1))
    assert entry.event == AuditEvent(datetime(1970, 1, 1, tzinfo=UTC), "", ActorType.ANONYMOUS)
    assert (entry.sequence, entry.hash, entry.previous_hash) == (1, "", "")
    assert (await store.audit.figures(NOW)).by_method == {"b'G'": 1}


# -- pruning


async def pruned(store: Store, older_than: datetime | None, most: int) -> int:
    total = 0
    while gone := await store.audit.prune(older_than, most):
        assert gone <= stored.CHUNK
        total += gone
    return total


async def test_the_oldest_go_by_age_and_the_rest_stays_whole(store: Store) -> None:
    end = await fill(store, 2500)
    assert await pruned(store, NOW + timedelta(seconds=2200), 10**6) == 2200
    found = await checked(store, end)
    assert (found.valid, found.entries_checked) == (True, 300)
    assert await store.audit.place() == end
    assert (await all_of(store))[0] == event(2200)
    assert await pruned(store, NOW + timedelta(seconds=2200), 10**6) == 0


async def test_the_oldest_go_by_number(store: Store) -> None:
    end = await fill(store, 1500)
    assert await pruned(store, None, 1500) == 0
    assert await pruned(store, None, 1000) == 500
    end = await store.audit.append(end, [event(n) for n in range(3)])
    assert await pruned(store, None, 1000) == 3
    assert (await checked(store, end)).entries_checked == 1000


async def test_only_what_is_older_than_all_that_stays_goes_by_age(store: Store) -> None:
    """A clock that was wrong holds up what comes after, until its number is up."""
    late = event(at=NOW + timedelta(days=900))
    await store.audit.append(GENESIS, [event(0), event(1), late, event(2), event(3)])
    assert await pruned(store, NOW + timedelta(days=1), 10**6) == 2
    assert await pruned(store, NOW + timedelta(days=1), 1) == 4 - 1
    assert (await checked(store)).valid


async def test_a_log_of_which_all_was_pruned_goes_on(opened: OpenStore) -> None:
    store = await opened()
    end = await fill(store, 5)
    assert await pruned(store, NOW + timedelta(days=1), 10**6) == 5
    assert (await checked(store, end)).valid
    await store.close()
    store = await opened()
    assert await store.audit.place() == end
    end = await store.audit.append(end, [event(5)])
    assert end.sequence == 6
    assert (await checked(store, end)).entries_checked == 1


async def test_a_changed_entry_is_found_when_those_before_it_have_gone(
    opened: OpenStore, database: Path
) -> None:
    store = await opened()
    await fill(store, 10)
    await pruned(store, None, 4)
    with free_hand(database) as connection:
        connection.execute("UPDATE audit_entries SET actor_name = 'me' WHERE sequence = 7")
    assert (await checked(store)).first_bad == 7


async def test_what_was_put_before_the_anchor_is_pruned_without_moving_it(
    opened: OpenStore, database: Path
) -> None:
    store = await opened()
    await fill(store, 10)
    await pruned(store, None, 4)
    with free_hand(database) as connection:
        connection.execute("UPDATE audit_entries SET sequence = 2 WHERE sequence = 10")
    assert (await checked(store)).first_bad == 2
    assert await pruned(store, None, 4) == 1
    assert (await checked(store)).first_bad == 10


async def test_nothing_is_pruned_where_the_anchor_is_not_on_record(
    opened: OpenStore, database: Path
) -> None:
    store = await opened()
    await fill(store, 10)
    with free_hand(database) as connection:
        connection.execute("DELETE FROM audit_marks WHERE name = 'anchor'")
    assert await pruned(store, None, 4) == 0


async def test_no_number_is_given_twice_where_the_head_is_not_on_record(
    opened: OpenStore, database: Path
) -> None:
    store = await opened()
    end = await fill(store, 10)
    await pruned(store, NOW + timedelta(days=1), 1)
    with free_hand(database) as connection:
        connection.execute("DELETE FROM audit_marks WHERE name = 'head'")
    assert await store.audit.place() == end


# -- looking for entries

SAID = [
    event(0, action="endpoint.create", actor_id="u1", actor_name="ann", method="POST",
          path="/api/endpoints", status=201, client_address="10.0.0.1", object_id="e1"),
    event(1, action="endpoint.delete", actor_id="u2", actor_name="Bob", method="DELETE",
          path="/api/endpoints/e1", status=204, client_address="10.0.0.10", object_id="e1"),
    event(2, action="auth.failed", actor_type=ActorType.ANONYMOUS, method="POST",
          path="/v1/chat/completions", status=401, client_address="fe80::1", detail="100%_\\x"),
    event(3, action="audit.lost", actor_type=ActorType.SYSTEM, model="llama3.1:8b"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [0, 1, 2, 3]),
        ({"actor_type": ActorType.USER}, [0, 1]),
        ({"actor_id": "u2"}, [1]),
        ({"actor_id": "u"}, []),
        ({"method": "POST"}, [0, 2]),
        ({"method": "POST", "status": 401}, [2]),
        ({"path": "/api/endpoints"}, [0]),
        ({"time_from": NOW + timedelta(seconds=1)}, [1, 2, 3]),
        ({"time_to": NOW + timedelta(seconds=1)}, [0, 1]),
        ({"time_from": NOW + timedelta(seconds=1), "time_to": NOW + timedelta(seconds=2)}, [1, 2]),
        ({"address_part": "10.0.0.1"}, [0, 1]),
        ({"address_part": "::"}, [2]),
        ({"address_part": "%"}, []),
        ({"text": "BOB"}, [1]),
        ({"text": "e1"}, [0, 1]),
        ({"text": "llama3.1"}, [3]),
        ({"text": "%"}, [2]),
        ({"text": "_"}, [2]),
        ({"text": "\\"}, [2]),
        ({"text": "0%_\\X"}, [2]),
        ({"text": "1%x"}, []),
        ({"text": "' OR 1=1 --"}, []),
        ({"text": "\x00"}, []),
        ({"text": "a" * 200}, []),
        ({"text": "\U0001f642" * 200}, []),
        ({"text": "%" * 200}, []),
    ],
)  # fmt: skip
async def test_all_that_is_asked_for_has_to_hold(
    store: Store, wanted: dict[str, Any], found: list[int]
) -> None:
    await store.audit.append(GENESIS, SAID)
    assert await all_of(store, **wanted) == [SAID[n] for n in found]


@pytest.mark.parametrize("column", SEARCHED)
async def test_a_text_is_looked_for_in_every_column_of_text(store: Store, column: str) -> None:
    await store.audit.append(GENESIS, [event(0), event(1, **{column: "the needle here"})])
    (found,) = await all_of(store, text="Needle")
    assert getattr(found, column) == "the needle here"


def test_the_columns_that_are_not_searched_hold_no_text_of_their_own() -> None:
    assert set(TEXTS) - set(SEARCHED) == {"method", "api_key_owner_id"}


async def test_a_page_has_the_newest_first_and_the_total_counts_all(store: Store) -> None:
    await fill(store, 25)
    entries, total = await store.audit.search(AuditSearch(10, 20))
    assert ([entry.sequence for entry in entries], total) == ([5, 4, 3, 2, 1], 25)
    assert await store.audit.search(AuditSearch(10, 5_000_000)) == ([], 25)


async def test_figures_count_by_method_and_by_actor_and_the_last_day(store: Store) -> None:
    await store.audit.append(GENESIS, [event(at=NOW - timedelta(hours=25)), *SAID])
    figures = await store.audit.figures(NOW)
    assert figures.total == 5
    assert figures.by_method == {None: 2, "POST": 2, "DELETE": 1}
    assert figures.by_actor_type == {"user": 3, "anonymous": 1, "system": 1}
    assert figures.last_24h == 4


async def test_an_empty_log_has_figures_and_pages_too(store: Store) -> None:
    assert await store.audit.search(AuditSearch(10)) == ([], 0)
    assert (await store.audit.figures(NOW)).total == 0
    assert (await checked(store, GENESIS)).valid


def test_every_field_has_a_column() -> None:
    assert set(COLUMNS) == {*FIELDS, "sequence", "previous_hash", "hash"}


# -- the file, beside whoever has it open


def check_beside(database: Path, known: Link | None = None) -> Verification:
    check = ChainCheck(known)
    check_file(f"sqlite:{database}", check)
    return check.result()


@contextmanager
def read_only(database: Path) -> Iterator[None]:
    database.chmod(0o400)
    database.parent.chmod(0o500)
    yield
    database.parent.chmod(0o700)


async def test_a_file_is_checked_while_it_is_open_and_after(
    opened: OpenStore, database: Path
) -> None:
    store = await opened()
    assert check_beside(database).valid, "also before anything was written"
    end = await fill(store, 1500)
    found = check_beside(database, end)
    assert (found.valid, found.entries_checked, found.head) == (True, 1500, end)
    end = await store.audit.append(end, [event(0)])
    assert check_beside(database, end).entries_checked == 1501
    assert not store._database._held.moved  # type: ignore[union-attr]  # it is a file
    await store.close()
    assert check_beside(database, end).valid
    assert sorted(p.name for p in database.parent.iterdir()) == ["llmlb.db", "llmlb.db.lock"]


async def test_a_file_is_checked_where_nothing_may_be_written(
    opened: OpenStore, database: Path
) -> None:
    store = await opened()
    end = await fill(store, 3)
    await store.close()
    with read_only(database):
        assert check_beside(database, end).valid


def test_what_is_no_audit_log_is_said_so(database: Path) -> None:
    database.parent.mkdir()
    with pytest.raises(StartupError, match=r"There is no database .*llmlb.db"):
        check_beside(database)
    database.touch()
    with pytest.raises(StartupError, match="has no audit log"):
        check_beside(database)
    database.write_text("no database at all " * 100)
    with pytest.raises(StartupError, match=r"cannot be read .it is not an SQLite database"):
        check_beside(database)
    with pytest.raises(StartupError, match="only be asked through the running"):
        check_file("sqlite::memory:", ChainCheck())
    with pytest.raises(StartupError, match="not supported"):
        check_file("postgres://x", ChainCheck())


async def test_a_file_without_its_marks_is_said_so(opened: OpenStore, database: Path) -> None:
    await (await opened()).close()
    with free_hand(database) as connection:
        connection.execute("DROP TABLE audit_marks")
    with pytest.raises(StartupError, match="cannot be read"):
        check_beside(database)


async def test_statements_of_the_log_bind_all_values(store: Store) -> None:
    """What a client says never becomes text of a statement."""
    seen: list[str] = []
    original = Transaction.each

    def each(self: Transaction, statement: str, *values: Any) -> Iterator[dict[str, Any]]:
        seen.append(statement)
        return original(self, statement, *values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transaction, "each", each)
        await all_of(store, text="N33DLE", path="N33DLE", actor_id="N33DLE", method="N33DLE")
    assert seen
    assert not [statement for statement in seen if "N33DLE" in statement]
