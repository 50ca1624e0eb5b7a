"""Rotation of keys, and what is done where one is lost."""

# ruff: noqa: ASYNC240 - these tests look at files, and may block
from __future__ import annotations

import re
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from llmlb.errors import StartupError
from llmlb.store.key_file import FILE_NAME, KeyFile
from llmlb.store.secret_box import new_key
from llmlb.store.secret_upkeep import Upkeep, secrets_of
from tests.store.conftest import MakeEndpoint, OpenStore
from tests.store.plaintext import HEADERS, KEY, bytes_below, older_database

A, B = new_key(), new_key()


def rotate(database: Path, secret_key: str | None = None) -> str:
    setting = None if secret_key is None else SecretStr(secret_key)
    url = f"sqlite:{database}"
    with secrets_of(url, data_dir=database.parent, secret_key=setting) as upkeep:
        return upkeep.rotate()


def tokens(content: bytes) -> set[bytes]:
    return set(re.findall(rb"enc:v1:[\w=-]+", content))


async def fill(opened: OpenStore, endpoint: MakeEndpoint, secret_key: str | None = None) -> None:
    setting = None if secret_key is None else SecretStr(secret_key)
    store = await opened(secret_key=setting)
    await store.endpoints.insert(endpoint(name="a", api_key=KEY))
    await store.endpoints.insert(endpoint(name="b", extra_headers=HEADERS))
    await store.endpoints.insert(endpoint(name="c"))
    await store.close()


async def secrets(opened: OpenStore, secret_key: str | None = None) -> list[object]:
    setting = None if secret_key is None else SecretStr(secret_key)
    store = await opened(secret_key=setting)
    found: list[object] = [e.api_key or e.extra_headers for e in await store.endpoints.all()]
    await store.close()
    return found


async def test_after_a_rotation_a_new_key_opens_all_and_nothing_of_the_old_one_is_left(
    opened: OpenStore, database: Path, endpoint: MakeEndpoint
) -> None:
    await fill(opened, endpoint)
    key_file = database.with_name(FILE_NAME)
    old, before = key_file.read_text().strip(), tokens(database.read_bytes())
    said = rotate(database)
    assert said.startswith("Secrets of 2 endpoints are encrypted with a new key, ")
    assert str(key_file) in said
    (new,) = key_file.read_text().split()
    assert new != old
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    everything = bytes_below(database.parent)
    assert old.encode() not in everything
    assert len(before) == 2
    assert not before & tokens(everything)
    assert await secrets(opened) == [KEY, HEADERS, ()]


async def test_keys_of_a_rotation_that_was_broken_off_go_with_the_next(
    opened: OpenStore, database: Path, endpoint: MakeEndpoint
) -> None:
    await fill(opened, endpoint)
    file = KeyFile(database.parent)
    file.replace([A, *file.lines()])
    rotate(database)
    assert len(file.lines()) == 1
    assert await secrets(opened) == [KEY, HEADERS, ()]


async def test_a_rotation_of_a_setting_leaves_the_first_key_alone_needed(
    opened: OpenStore, database: Path, endpoint: MakeEndpoint
) -> None:
    await fill(opened, endpoint, A)
    said = rotate(database, f"{B},{A}")
    assert said == (
        "Secrets of 2 endpoints are encrypted with the first key of LLMLB_SECRET_KEY. Keys behind "
        "it can be removed now."
    )
    assert await secrets(opened, B) == [KEY, HEADERS, ()]
    assert not database.with_name(FILE_NAME).exists()


async def test_a_file_is_left_for_a_setting_by_a_rotation(
    opened: OpenStore, database: Path, endpoint: MakeEndpoint
) -> None:
    await fill(opened, endpoint)
    rotate(database, f"{A},{database.with_name(FILE_NAME).read_text()}")
    database.with_name(FILE_NAME).unlink()
    assert await secrets(opened, A) == [KEY, HEADERS, ()]


async def test_a_database_of_an_older_version_can_be_rotated_at_once(
    opened: OpenStore, database: Path
) -> None:
    older_database(database)
    assert rotate(database).startswith("Secrets of 1 endpoint are")
    assert b"canary" not in bytes_below(database.parent)
    assert await secrets(opened) == [KEY, ()]


async def test_a_running_server_is_left_alone(
    opened: OpenStore, database: Path, endpoint: MakeEndpoint
) -> None:
    await fill(opened, endpoint)
    store = await opened()
    before = database.with_name(FILE_NAME).read_text()
    with pytest.raises(StartupError, match="in use by another llmlb: stop that one first"):
        rotate(database)
    assert database.with_name(FILE_NAME).read_text() == before
    await store.close()
    rotate(database)


async def test_a_lost_key_is_not_rotated_away(
    opened: OpenStore, database: Path, endpoint: MakeEndpoint
) -> None:
    await fill(opened, endpoint)
    database.with_name(FILE_NAME).unlink()
    before = database.read_bytes()
    with pytest.raises(StartupError, match=r"endpoint 'a' .* cannot be decrypted"):
        rotate(database)
    assert database.read_bytes() == before
    assert not database.with_name(FILE_NAME).exists()


async def test_only_what_cannot_be_decrypted_is_forgotten(
    opened: OpenStore, database: Path, endpoint: MakeEndpoint
) -> None:
    await fill(opened, endpoint)
    key_file = database.with_name(FILE_NAME)
    old = key_file.read_text()
    key_file.unlink()
    with closing(sqlite3.connect(database)) as by_hand:
        by_hand.execute("UPDATE endpoints SET api_key = NULL WHERE name = 'a'")
        by_hand.commit()
    store = await opened(secret_key=SecretStr(f"{A},{old}"))
    await store.endpoints.insert(endpoint(name="d", api_key=KEY))
    await store.close()
    url = f"sqlite:{database}"
    with secrets_of(url, data_dir=database.parent, secret_key=SecretStr(A)) as upkeep:
        lost = upkeep.unreadable()
        assert [(one.name, one.lost) for one in lost] == [("b", "extra headers")]
        upkeep.forget(lost)
        assert upkeep.unreadable() == []
    assert await secrets(opened, A) == [(), (), (), KEY]


def test_there_must_be_a_database(tmp_path: Path) -> None:
    for url, reason in (
        (f"sqlite:{tmp_path / 'none.db'}", "There is no database"),
        ("sqlite::memory:", "keeps no secrets"),
    ):
        with (
            pytest.raises(StartupError, match=reason),
            secrets_of(url, data_dir=tmp_path, secret_key=None),
        ):
            pass
    assert list(tmp_path.iterdir()) == []


async def test_a_disk_that_fills_up_in_a_rotation_is_named_and_nothing_is_lost(
    opened: OpenStore, database: Path, endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(opened, endpoint)

    def full(_upkeep: Upkeep, _after: object) -> int:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(Upkeep, "_seal_anew", full)
        with pytest.raises(StartupError, match="its disk is full"):
            rotate(database)
    assert len(KeyFile(database.parent).lines()) == 2
    assert await secrets(opened) == [KEY, HEADERS, ()]
    rotate(database)
    assert await secrets(opened) == [KEY, HEADERS, ()]
