"""Secrets of endpoints in the database file: what is there, and what is left nowhere."""

# ruff: noqa: ASYNC240 - these tests look at files, and may block
from __future__ import annotations

import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from llmlb.errors import StartupError, StoreUnavailable
from llmlb.store.key_file import FILE_NAME
from llmlb.store.secret_box import box_from_setting, new_key
from llmlb.types import EndpointId
from tests.store.conftest import NOW, MakeEndpoint, OpenStore
from tests.store.plaintext import (
    HEADER,
    HEADERS,
    KEY,
    LAST_OLD_VERSION,
    bytes_below,
    older_database,
)

A, B = SecretStr(new_key()), SecretStr(new_key())


def rows(database: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def stored(database: Path) -> list[tuple[str | None, str]]:
    return rows(database, "SELECT api_key, extra_headers FROM endpoints ORDER BY id")


async def refusal(opened: OpenStore, **options: Any) -> str:
    with pytest.raises(StartupError) as refused:
        await opened(**options)
    sentence = str(refused.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


async def test_keys_and_extra_headers_are_read_back_but_not_seen_in_any_file(
    opened: OpenStore, database: Path, endpoint: MakeEndpoint
) -> None:
    store = await opened()
    assert not database.with_name(FILE_NAME).exists(), "nothing needs a key yet"
    one = endpoint(api_key=KEY)
    await store.endpoints.insert(one)
    await store.endpoints.insert(endpoint(extra_headers=HEADERS))
    await store.endpoints.insert(endpoint())
    assert b"canary" not in bytes_below(database.parent)
    await store.close()
    store = await opened()
    secrets = [(e.api_key, e.extra_headers) for e in await store.endpoints.all()]
    assert secrets == [(KEY, ()), (None, HEADERS), (None, ())]
    (found,) = [e for e in await store.endpoints.all() if e.id == one.id]
    await store.endpoints.update(found)
    assert (await store.endpoints.all())[0].api_key == KEY
    assert b"canary" not in bytes_below(database.parent)
    assert b"enc:v1:" in bytes_below(database.parent)
    assert stat.S_IMODE(database.with_name(FILE_NAME).stat().st_mode) == 0o600


async def test_what_is_no_secret_is_not_encrypted(
    opened: OpenStore, database: Path, endpoint: MakeEndpoint
) -> None:
    store = await opened()
    await store.endpoints.insert(endpoint())
    assert stored(database) == [(None, "[]")]
    assert not database.with_name(FILE_NAME).exists()


async def test_a_replaced_key_is_gone_from_the_file_too(
    opened: OpenStore, database: Path, endpoint: MakeEndpoint
) -> None:
    store = await opened()
    one = endpoint(api_key=KEY)
    await store.endpoints.insert(one)
    await store.close()
    ((token, _),) = stored(database)
    assert token is not None
    assert token.encode() in database.read_bytes()
    store = await opened()
    await store.endpoints.delete(one.id)
    await store.close()
    assert token.encode() not in bytes_below(database.parent)


async def test_a_store_in_memory_needs_no_file(
    opened: OpenStore, database: Path, endpoint: MakeEndpoint
) -> None:
    store = await opened("sqlite::memory:")
    await store.endpoints.insert(endpoint(api_key=KEY))
    assert (await store.endpoints.all())[0].api_key == KEY
    assert list(database.parent.iterdir()) == []


# -- what older versions have left


@pytest.mark.parametrize("version", range(1, LAST_OLD_VERSION + 1))
async def test_plaintext_of_every_older_version_is_encrypted_and_left_nowhere(
    opened: OpenStore, database: Path, version: int
) -> None:
    older_database(database, version)
    before = bytes_below(database.parent)
    for left in (KEY, HEADER, "canary-of-the-gone-7", "canary-that-was-replaced"):
        assert left.encode() in before
    store = await opened()
    assert b"canary" not in bytes_below(database.parent)
    kept, bare = sorted(await store.endpoints.all(), key=lambda e: e.name, reverse=True)
    assert (kept.api_key, kept.extra_headers) == (KEY, HEADERS)
    assert (bare.api_key, bare.extra_headers) == (None, ())
    await store.close()
    assert b"canary" not in bytes_below(database.parent)


async def test_records_of_an_older_import_are_kept_without_their_secrets(
    opened: OpenStore, database: Path
) -> None:
    older_database(database)
    await opened()
    records = rows(database, "SELECT record FROM import_records ORDER BY record_number")
    assert [json.loads(record) for (record,) in records] == [
        {"name": "no URL", "api_key": "***"},
        {"base_url": "ftp://***@x", "extra_headers": "***"},
    ]


async def test_it_is_done_once(opened: OpenStore, database: Path) -> None:
    older_database(database)
    await (await opened()).close()
    before = stored(database)
    await (await opened(now=lambda: NOW.replace(year=2030))).close()
    assert stored(database) == before
    assert rows(database, "SELECT what, substr(done_at, 1, 4) FROM erasures") == [
        ("secrets", str(NOW.year))
    ]


async def test_a_new_database_has_nothing_to_erase(opened: OpenStore, database: Path) -> None:
    written: list[str] = []

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = original(*arguments, **options)
        connection.set_trace_callback(written.append)
        return connection

    original = sqlite3.connect
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sqlite3, "connect", connect)
        await (await opened()).close()
        assert "VACUUM" not in written
        await (await opened()).close()
        assert "VACUUM" not in written
        database.unlink()
        older_database(database)
        await (await opened()).close()
        assert "VACUUM" in written


async def test_a_key_that_was_written_by_hand_is_encrypted_and_left_nowhere(
    opened: OpenStore, database: Path, endpoint: MakeEndpoint
) -> None:
    store = await opened()
    await store.endpoints.insert(endpoint(api_key="before"))
    await store.close()
    with closing(sqlite3.connect(database)) as by_hand:
        by_hand.execute("UPDATE endpoints SET api_key = ?", [KEY])
        by_hand.commit()
    store = await opened()
    assert (await store.endpoints.all())[0].api_key == KEY
    assert b"canary" not in bytes_below(database.parent)


async def test_a_program_that_keeps_the_old_pages_in_use_stops_the_start(
    opened: OpenStore, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmlb.store.connection.BUSY_TIMEOUT_S", 0.01)
    older_database(database)
    with closing(sqlite3.connect(database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM endpoints").fetchone()
        said = await refusal(opened)
    assert f"{database} still holds secrets that are not encrypted" in said
    assert "stop that program" in said
    store = await opened()
    assert b"canary" not in bytes_below(database.parent)
    assert (await store.endpoints.all())[0].api_key == KEY


# -- keys


async def test_the_setting_wins_over_the_file(
    opened: OpenStore, database: Path, endpoint: MakeEndpoint
) -> None:
    store = await opened(secret_key=A)
    await store.endpoints.insert(endpoint(api_key=KEY))
    await store.close()
    assert not database.with_name(FILE_NAME).exists()
    ((token, _),) = stored(database)
    assert token is not None
    assert box_from_setting(A.get_secret_value()).open(token) == KEY
    both = SecretStr(f"{B.get_secret_value()},{A.get_secret_value()}")
    store = await opened(secret_key=both)
    assert (await store.endpoints.all())[0].api_key == KEY


async def test_a_wrong_setting_is_refused_also_in_memory(opened: OpenStore) -> None:
    said = await refusal(opened, url="sqlite::memory:", secret_key=SecretStr("short"))
    assert "LLMLB_SECRET_KEY" in said
    assert "short" not in said


async def test_a_lost_key_stops_the_start_with_the_endpoints_name_and_the_remedies(
    opened: OpenStore, database: Path, endpoint: MakeEndpoint
) -> None:
    store = await opened()
    await store.endpoints.insert(endpoint(name="rack", api_key=KEY))
    await store.close()
    key_file = database.with_name(FILE_NAME)
    key = key_file.read_text()
    before = stored(database)
    key_file.unlink()
    assert await refusal(opened) == (
        f"The API key of the endpoint 'rack' cannot be decrypted: restore {key_file}, or set "
        "LLMLB_SECRET_KEY to the key that was in it, or run 'llmlb secrets forget' and enter them "
        "again."
    )
    assert not key_file.exists(), "a new key would hide that the old one is missing"
    key_file.write_text(new_key())
    key_file.chmod(0o600)
    assert "'rack' cannot be decrypted" in await refusal(opened)
    said = await refusal(opened, secret_key=B)
    assert "back into LLMLB_SECRET_KEY" in said
    assert B.get_secret_value() not in said
    assert stored(database) == before
    store = await opened(secret_key=SecretStr(key.strip()))
    assert (await store.endpoints.all())[0].api_key == KEY


async def test_of_many_lost_secrets_the_first_is_named_and_the_rest_counted(
    opened: OpenStore, database: Path, endpoint: MakeEndpoint
) -> None:
    store = await opened()
    for name in ("a", "b", "c"):
        await store.endpoints.insert(endpoint(name=name, api_key=KEY, extra_headers=HEADERS))
    await store.close()
    database.with_name(FILE_NAME).unlink()
    said = await refusal(opened)
    assert said.startswith(
        "The API key and extra headers of the endpoint 'a' (and those of 2 more) cannot be "
    )


async def test_a_key_that_cannot_be_kept_refuses_the_secret_and_nothing_else(
    opened: OpenStore, database: Path, endpoint: MakeEndpoint
) -> None:
    store = await opened()
    in_the_way = database.with_name(f"{FILE_NAME}.new")
    in_the_way.mkdir()
    with pytest.raises(StoreUnavailable) as refused:
        await store.endpoints.insert(endpoint(api_key=KEY))
    assert "its key file cannot be written" in str(refused.value)
    assert "LLMLB_SECRET_KEY" in str(refused.value)
    assert str(database.parent) not in str(refused.value)
    await store.endpoints.insert(endpoint())
    assert store.health.condition.well
    in_the_way.rmdir()
    await store.endpoints.insert(endpoint(api_key=KEY))
    assert [e.api_key for e in await store.endpoints.all()] == [None, KEY]


async def test_a_key_that_cannot_be_kept_stops_the_start_that_would_encrypt(
    opened: OpenStore, database: Path
) -> None:
    older_database(database)
    database.with_name(f"{FILE_NAME}.new").mkdir()
    said = await refusal(opened)
    assert f"its key file {database.with_name(FILE_NAME)} cannot be written" in said
    assert "or set LLMLB_SECRET_KEY" in said
    assert len(rows(database, f"SELECT 1 FROM endpoints WHERE api_key = '{KEY}'")) == 1


# -- older files


def put(directory: Path, name: str, content: object) -> Path:
    directory.mkdir(exist_ok=True)
    file = directory / name
    file.write_text(json.dumps(content))
    file.chmod(0o644)
    return file


async def test_imported_keys_are_encrypted_and_reports_hold_none(
    opened: OpenStore, database: Path
) -> None:
    directory = database.parent
    put(
        directory,
        "endpoints.json",
        [
            {"name": "a", "base_url": "http://a", "api_key": KEY},
            {"name": "b", "base_url": "http://a/v1", "api_key": "canary-of-the-second"},
            {"name": "c", "base_url": "http://me:canary-password@c", "api_key": "canary-c"},
            {"name": "d", "base_url": "http://me:canary password@c"},
            {"name": "e", "base_url": "me:canary-password@c"},
        ],
    )
    with closing(sqlite3.connect(directory / "load balancer.db")) as rust:
        rust.execute("CREATE TABLE _sqlx_migrations (version BIGINT)")
        rust.execute("CREATE TABLE endpoints (id, name, base_url, api_key_encrypted)")
        rust.execute("INSERT INTO endpoints VALUES ('1', 'rust', 'http://rust', ?)", [KEY])
        rust.execute("INSERT INTO endpoints VALUES ('2', 'bad', 'rust', 'canary-rust')")
        rust.commit()
    store = await opened()
    keys = {e.name: e.api_key for e in await store.endpoints.all()}
    assert keys == {"a": KEY, "rust": KEY}
    originals = ("load balancer.db", "endpoints.json.migrated")
    for original in originals:
        assert b"canary" in (directory / original).read_bytes()
        (directory / original).unlink()
    assert b"canary" not in bytes_below(directory)
    reported = rows(database, "SELECT record FROM import_records WHERE record IS NOT NULL")
    assert len(reported) == 5


async def test_files_that_were_imported_are_for_their_owner_alone_also_older_ones(
    opened: OpenStore, database: Path
) -> None:
    directory = database.parent
    older = put(directory, "nodes.json.migrated.2", [])
    put(directory, "endpoints.json", [{"name": "a", "base_url": "http://a"}])
    await opened()
    for file in (older, directory / "endpoints.json.migrated"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_an_endpoint_of_the_database_shows_no_secret(
    opened: OpenStore, endpoint: MakeEndpoint
) -> None:
    store = await opened()
    await store.endpoints.insert(endpoint(id=EndpointId("x"), api_key=KEY, extra_headers=HEADERS))
    assert "canary" not in repr(await store.endpoints.all())
