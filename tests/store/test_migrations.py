from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.accounts import KeyId, Permission
from llmlb.audit import GENESIS, Link
from llmlb.errors import StartupError
from llmlb.store import connection as opening
from llmlb.store.connection import connect
from llmlb.store.database import Transaction
from llmlb.store.history_search import HistorySearch
from llmlb.store.migrate import Migration, migrate, released, split
from llmlb.types import Api, Capability, EndpointId, Model, Status, Whereabouts
from tests.store.conftest import NOW, OpenStore

CHECKSUMS = {
    "0001_endpoints": "ea579b4d5f47060d5407c8e09fe3514f8e3e83b864322306f9c4b8eacb44738c",
    "0002_endpoint_models": "62b5f4365a0d6bbcb8d1466acc656b5717053e94e529748d7f1f34eadbfef4cc",
    "0003_statistics": "2db9b2f121c37a56b74417a7bf5caa27f67030a09765c5a12c00d43a0d7c4072",
    "0004_request_history": "1a846dea5ae9afb7e6ae688370e9c268d0943cbaebebebcebbfafb0cfb02b93e",
    "0005_imports": "0b6265e3b16120ab4f7c30543fa20154410ace155da8f165e0acd09e8c660520",
    "0006_native_apis": "9bd0de89d80dd2c7af151a179321a44a68c6da116790289e5157eb0977b8b6fa",
    "0007_model_names": "7c8a1bf62f80b0fa02266fb65a4a264d4fd4b9676b16e363b2ad71f7dc75872a",
    "0008_stored_responses": "2e5d661faaaae0623d05f8760ce01c1e5f8c73ce8b8490a947d9de74b9105b28",
    "0009_accounts": "954fa2d65cfa8c2e6eb8f909d6fc4b09057f98fd0b6db3fdc0cfde335ad6f7c3",
    "0010_endpoint_tls": "3dbaee4dcd7406737d54ba5c137056c3607592bbe6e8a1c7de793eb63f7ca365",
    "0011_audit": "dbc4dc010e4499bdc1d8f810953dd22fec057693f893d2da7ee09e3473af50a9",
    "0012_erasures": "8ec23fc1ea1a16667a71945d1ae97c3dc24a27f05492da9d6d2f915fbe20e432",
    "0013_history": "4de4ee7ab13772e66f42f72ee3c6602ad2917e662d84d407bf469e4213cd9d31",
    "0014_usage": "9f8d2e4a606264414c34efd3723c2c44fe6091e353e349fb493c7036b22d2ee4",
    "0015_texts": "2de530dbbbc306e42fa9456dbc7c078b9180b273f88ecec68a423d0a6842502a",
}
"""Of the released migrations. A line is only ever added: what is released never changes."""

DATA = {
    1: """INSERT INTO endpoints (id, name, base_url, registered_at, latency_ms, status, notes)
          VALUES ('e1', 'old one', 'http://old', '2025-01-01T00:00:00.000000Z', 9e999, 'online',
                  'kept');""",
    2: """INSERT INTO endpoint_models (endpoint_id, model_id, position, capabilities, max_tokens)
          VALUES ('e1', 'm', 0, '["embeddings"]', 4096);""",
    3: """INSERT INTO daily_statistics
              (endpoint_id, model, api, day, total_requests, successful_requests, failed_requests,
               cancelled_requests, input_tokens, output_tokens, total_tokens, total_duration_ms)
          VALUES ('gone', 'm', 'embeddings', '2025-01-01', 3, 2, 1, 0, 30, 20, 50, 12.5);
          INSERT INTO model_latencies VALUES ('e1', 'm', 'embeddings', 77.5);""",
    4: """INSERT INTO request_history (id, timestamp, request_type, model, duration_ms, status,
                                       completed_at, client_ip, request_body, response_body)
          VALUES ('h1', '2025-01-01T00:00:00.000000Z', 'chat', 'm', 5, 'success',
                  '2025-01-01T00:00:00.000000Z', '2001:db8::7', '{"é": 1}', NULL);""",
    5: """INSERT INTO imports VALUES (1, 'nodes.json', 'abc', '2025-01-01T00:00:00.000000Z');
          INSERT INTO import_records VALUES (1, 1, 'e1', 'imported', NULL, NULL);""",
    6: """UPDATE endpoints SET native_apis = '["messages"]' WHERE id = 'e1';""",
    7: """UPDATE endpoints SET model_aliases = '[["fast", "m"]]',
                               model_capabilities = '[["m", ["audio_speech"]]]';""",
    8: """INSERT INTO stored_responses (id, endpoint_id, owner, made_at)
          VALUES ('resp_1', 'gone', NULL, '2025-01-01T00:00:00.000000Z');""",
    9: """INSERT INTO users (id, username, password_hash, role, created_at)
          VALUES ('u1', 'ann', '$argon2id$', 'admin', '2025-01-01T00:00:00.000000Z');
          INSERT INTO api_keys (id, owner, name, prefix, digest, created_at, permissions)
          VALUES ('k1', 'u1', 'laptop', 'sk_1234567', 'd1', '2025-01-01T00:00:00.000000Z',
                  '["openai.inference"]');
          INSERT INTO invitations (id, digest, created_by, created_at, expires_at, status)
          VALUES ('i1', 'd2', 'u1', '2025-01-01T00:00:00.000000Z',
                  '2025-01-04T00:00:00.000000Z', 'active');
          INSERT INTO revoked_sessions VALUES ('s1', 'u1', '2025-01-02T00:00:00.000000Z');""",
    10: """UPDATE endpoints SET tls_verify = 0, ca_certificate = 'PEM' WHERE id = 'e1';""",
    11: """INSERT INTO audit_entries (sequence, at, action, actor_type, count, previous_hash, hash)
           VALUES (1, '2025-01-01T00:00:00.000000Z', 'endpoint.create', 'user', 1, 'x', 'y');
           UPDATE audit_marks SET sequence = 1, hash = 'y' WHERE name = 'head';""",
    12: """INSERT INTO erasures VALUES ('secrets', '2025-01-01T00:00:00.000000Z');""",
    13: """INSERT INTO request_history (id, timestamp, request_type, model, duration_ms, outcome,
                                        client_ip, client_group, completed_at, kept_bytes,
                                        has_bodies)
           VALUES ('h2', '2025-01-02T00:00:00.000000Z', 'chat', 'm', 5, 'refused', '::1', '::/64',
                   '2025-01-02T00:00:00.000000Z', 1000, 1);
           INSERT INTO request_details VALUES (2, '{}', NULL, NULL);
           INSERT INTO dashboard_settings VALUES ('ip_alert_threshold', '7',
                                                  '2025-01-01T00:00:00.000000Z');""",
    14: """INSERT INTO minute_counts VALUES ('2025-01-01T00:00:00.000000Z', 1, 2, 3);
           INSERT INTO daily_speeds (day, endpoint_id, model)
           VALUES ('2025-01-01', 'gone', 'm');""",
    15: """UPDATE request_history SET served_model = 'm-q4', endpoint_name = 'old one',
                                      error_message = 'It broke.' WHERE id = 'h2';""",
}
"""Rows that a database of each version may hold."""

ALL = released()
VERSIONS = [migration.version for migration in ALL]


@pytest.fixture
def memory() -> Iterator[sqlite3.Connection]:
    connection = connect(":memory:")
    yield connection
    connection.close()


def dump(connection: sqlite3.Connection) -> list[str]:
    return list(connection.iterdump())


def up_to(version: int) -> tuple[Migration, ...]:
    return tuple(migration for migration in ALL if migration.version <= version)


def bring_to(connection: sqlite3.Connection, migrations: tuple[Migration, ...]) -> None:
    migrate(connection, migrations, file="x.db", now=NOW)


def grow_to(connection: sqlite3.Connection, version: int) -> None:
    """The schema of *version*, with the rows that were written under it and those before it."""
    bring_to(connection, ())
    for known in range(1, version + 1):
        bring_to(connection, ALL[:known])
        for statement in split(DATA[known]):
            connection.execute(statement)


def test_no_released_migration_has_changed() -> None:
    assert {f"{m.version:04}_{m.name}": m.checksum for m in ALL} == CHECKSUMS


def test_versions_count_up_from_one() -> None:
    assert list(range(1, len(ALL) + 1)) == VERSIONS
    assert sorted(DATA) == VERSIONS, "every version has rows to test its successors with"


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_older_version_becomes_the_newest_with_its_data(
    version: int, opened: OpenStore, database: Path
) -> None:
    database.parent.mkdir()
    connection = connect(str(database))
    grow_to(connection, version)
    connection.close()

    store = await opened()
    (endpoint,) = await store.endpoints.all()
    assert (endpoint.id, endpoint.name, endpoint.base_url) == ("e1", "old one", "http://old")
    assert (endpoint.status, endpoint.latency_ms) == (Status.ONLINE, float("inf"))
    if version >= 2:
        assert endpoint.models == (Model("m", frozenset({Capability.EMBEDDINGS}), 4096),)
    if version >= 3:
        totals = await store.statistics.totals()
        assert totals[EndpointId("gone")].total_tokens == 50
        # what was counted before there was a table of requests goes on in it
        everything = await store.statistics.all_requests()
        assert everything == totals[EndpointId("gone")]
        assert len(await store.statistics.minutes()) == (version >= 14)
        assert [row.latency_ms for row in await store.statistics.latencies()] == [
            float("inf"),
            77.5,
        ]
    names = (endpoint.model_aliases, endpoint.model_capabilities)
    assert endpoint.native_apis == (frozenset({Api.MESSAGES}) if version >= 6 else frozenset())
    if version >= 7:
        assert names == ((("fast", "m"),), (("m", frozenset({Capability.AUDIO_SPEECH})),))
    else:
        assert names == ((), ())
    if version >= 8:
        made_at = datetime(2025, 1, 1, tzinfo=UTC)
        assert await store.responses.all() == {
            "resp_1": Whereabouts(EndpointId("gone"), None, made_at)
        }
    if version >= 9:
        accounts = await store.accounts.all()
        assert accounts.keys[KeyId("k1")].permissions == {Permission.INFERENCE}
        assert (accounts.admins[0].username, [*accounts.invitations]) == ("ann", ["i1"])
        assert [*accounts.revoked] == ["s1"]
    trust = (endpoint.tls_verify, endpoint.ca_certificate)
    assert trust == ((False, "PEM") if version >= 10 else (True, None))
    assert await store.audit.place() == (Link(1, "y") if version >= 11 else GENESIS)
    if version >= 5:
        count = "SELECT COUNT(*) FROM import_records"
        found = await store._database.read(partial(Transaction.rows, statement=count))
        assert found == [{"COUNT(*)": 1}]
    if version >= 4:
        kept = await store.history.find("h1")
        assert kept is not None
        assert (kept["model"], kept["outcome"], kept["sequence"]) == ("m", "succeeded", 1)
        assert (kept["client_ip"], kept["client_group"]) == ("2001:db8::7", "2001:db8::/64")
        assert (kept["request_body"], kept["response_body"]) == ('{"é": 1}', None)
        requests = 2 if version >= 13 else 1
        assert await store.history.size() == (requests, 1009 + 1000 * (requests - 1))
        assert len((await store.history.search(HistorySearch(model_part="M"), 5)).rows) == requests
        bodies = await store.history.search(HistorySearch(text="é"), 5)
        assert [row["id"] for row in bodies.rows] == ["h1"]
    assert await store.dashboard_settings.get("ip_alert_threshold") == (
        "7" if version >= 13 else ""
    )


def test_running_twice_changes_nothing(memory: sqlite3.Connection) -> None:
    grow_to(memory, len(ALL))
    before = dump(memory)
    migrate(memory, ALL, file="x.db", now=NOW.replace(year=2030))
    assert dump(memory) == before


@given(
    stops=st.lists(st.sampled_from([0, *VERSIONS]), max_size=4),
    crash=st.booleans(),
)
def test_any_way_to_the_newest_schema_ends_alike(stops: list[int], crash: bool) -> None:
    straight, winding = connect(":memory:"), connect(":memory:")
    bring_to(straight, ALL)
    for stop in sorted(stops):
        bring_to(winding, up_to(stop))
    broken = Migration(VERSIONS[-1] + 1, "broken", "CREATE TABLE half (x); CREATE TABLE half (x);")
    if crash:
        with pytest.raises(sqlite3.OperationalError):
            bring_to(winding, (*ALL, broken))
    bring_to(winding, ALL)
    assert dump(winding) == dump(straight)
    straight.close()
    winding.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_crash_in_the_middle_of_a_migration_leaves_the_schema_before_it(
    version: int, memory: sqlite3.Connection
) -> None:
    *older, whole = up_to(version)
    grow_to(memory, version - 1)
    before = dump(memory)
    crashing = Migration(whole.version, whole.name, whole.text + "\nSELECT no_such_function();")
    with pytest.raises(sqlite3.OperationalError):
        bring_to(memory, (*older, crashing))
    assert dump(memory) == before
    bring_to(memory, ALL)


async def test_a_database_of_a_newer_version_is_refused(
    opened: OpenStore, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = (*ALL, Migration(VERSIONS[-1] + 1, "future", "CREATE TABLE future (x);"))
    monkeypatch.setattr(opening, "released", lambda: newer)
    await (await opened()).close()
    monkeypatch.undo()
    with pytest.raises(StartupError, match="made by a newer llmlb") as refused:
        await opened()
    assert str(database) in str(refused.value)


async def test_a_migration_that_was_edited_after_its_release_is_noticed(
    opened: OpenStore, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited = (Migration(1, ALL[0].name, ALL[0].text + "-- edited\n"), *ALL[1:])
    monkeypatch.setattr(opening, "released", lambda: edited)
    await (await opened()).close()
    monkeypatch.undo()
    with pytest.raises(StartupError, match="different build") as refused:
        await opened()
    assert str(database) in str(refused.value)


def test_a_script_is_split_where_statements_end() -> None:
    script = """-- a comment; with a semicolon
    CREATE TABLE a (x TEXT DEFAULT ';'); INSERT INTO a VALUES ('it''s;');
    CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM a; SELECT 1; END;
    -- the end
    """
    found = list(split(script))
    assert len(found) == 3
    assert found[1] == "INSERT INTO a VALUES ('it''s;');"
    assert found[2].endswith("END;")


def test_a_script_that_ends_in_the_middle_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="CREATE TABLE b"):
        list(split("CREATE TABLE a (x); CREATE TABLE b (x"))
