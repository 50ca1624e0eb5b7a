# ruff: noqa: ASYNC240 - these tests look at files, and may block
"""That users, keys and invitations of the Rust llmlb come over as they were, once, and no more."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from llmlb.accounts import (
    VIEWER_PERMISSIONS,
    Accounts,
    ApiKey,
    Invitation,
    InvitationStatus,
    KeyId,
    Permission,
    Role,
    User,
    UserId,
)
from llmlb.accounts.changes import open_invitation
from llmlb.accounts.credentials import digest_of, find_key
from llmlb.store.opening import Store
from tests.fakes.accounts import key, user
from tests.store.conftest import NOW, OpenStore
from tests.store.test_import_rust import ENDPOINT, LATEST, insert, make

ANN_ID, VIC_ID = "11111111-0000-4000-8000-000000000001", "11111111-0000-4000-8000-000000000002"
KEY_ID, INVITATION_ID = (
    "22222222-0000-4000-8000-000000000001",
    "44444444-0000-4000-8000-000000000001",
)
SECRET, CODE = "sk_" + "A" * 7 + "b" * 25, "inv_0123456789abcdef"
HASH = "$2b$12$" + "s" * 53
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
LATER = "2027-01-02T03:04:05.678901+00:00"

SCHEMA = (
    LATEST
    + """
CREATE TABLE users (
    id TEXT PRIMARY KEY, username TEXT NOT NULL UNIQUE, password_hash TEXT NOT NULL,
    role TEXT NOT NULL, created_at TEXT NOT NULL, last_login TEXT,
    must_change_password INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY, key_hash TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    created_by TEXT NOT NULL, created_at TEXT NOT NULL, expires_at TEXT,
    scopes TEXT NOT NULL DEFAULT '[]', key_prefix TEXT, permissions TEXT
);
CREATE TABLE invitation_codes (
    id TEXT PRIMARY KEY, code_hash TEXT NOT NULL UNIQUE, created_by TEXT NOT NULL,
    created_at TEXT NOT NULL, expires_at TEXT NOT NULL, status TEXT NOT NULL,
    used_by TEXT, used_at TEXT
);
"""
)

ANN = {
    "id": ANN_ID,
    "username": "ann",
    "password_hash": HASH,
    "role": "admin",
    "created_at": "2026-01-01T00:00:00+00:00",
}
VIC = {**ANN, "id": VIC_ID, "username": "vic", "role": "viewer"}
KEY = {
    "id": KEY_ID,
    "key_hash": digest_of(SECRET),
    "name": "laptop",
    "created_by": ANN_ID,
    "created_at": "2026-01-01T00:00:00+00:00",
    "key_prefix": SECRET[:10],
    "permissions": '["openai.inference", "endpoints.read"]',
}
INVITATION = {
    "id": INVITATION_ID,
    "code_hash": digest_of(CODE),
    "created_by": ANN_ID,
    "created_at": "2026-01-01T00:00:00+00:00",
    "expires_at": LATER,
    "status": "active",
}


@pytest.fixture
def rust(database: Path) -> Path:
    return database.parent / "load balancer.db"


def left(
    rust: Path,
    *,
    users: list[dict[str, Any]] | None = None,
    keys: list[dict[str, Any]] | None = None,
    invitations: list[dict[str, Any]] | None = None,
) -> None:
    """What the Rust llmlb has left: ann, unless told."""
    rows = {
        "users": [ANN] if users is None else users,
        "api_keys": keys or [],
        "invitation_codes": invitations or [],
    }
    make(rust, SCHEMA, rows)


async def found(opened: OpenStore) -> Accounts:
    store = await opened()
    accounts = await store.accounts.all()
    await store.close()
    return accounts


def reported(database: Path) -> list[tuple[str, str | None, str | None]]:
    """What became of each record, the remark, and what is kept of it."""
    with closing(sqlite3.connect(database)) as ours:
        return ours.execute(
            "SELECT outcome, remark, record FROM import_records ORDER BY import_id, record_number"
        ).fetchall()


async def test_everybody_and_everything_comes_over_as_it_was(opened: OpenStore, rust: Path) -> None:
    due = {**VIC, "last_login": LATER, "must_change_password": 1}
    ends = {**KEY, "expires_at": LATER}
    used = {**INVITATION, "status": "used", "used_by": VIC_ID, "used_at": LATER}
    left(rust, users=[ANN, due], keys=[ends], invitations=[used])
    later = datetime.fromisoformat(LATER)
    assert await found(opened) == Accounts.of(
        [
            User(UserId(ANN_ID), "ann", HASH, Role.ADMIN, FIRST),
            User(UserId(VIC_ID), "vic", HASH, Role.VIEWER, FIRST, later, True),
            ApiKey(
                KeyId(KEY_ID),
                UserId(ANN_ID),
                "laptop",
                SECRET[:10],
                digest_of(SECRET),
                FIRST,
                frozenset({Permission.INFERENCE, Permission.ENDPOINTS_READ}),
                later,
            ),
            Invitation(
                INVITATION_ID,
                digest_of(CODE),
                UserId(ANN_ID),
                FIRST,
                later,
                InvitationStatus.USED,
                UserId(VIC_ID),
                later,
            ),
        ]
    )


@pytest.mark.parametrize("prefix", [SECRET[:10], None, "", SECRET[:8], SECRET[:20]])
async def test_an_old_key_is_found_whatever_was_kept_of_its_beginning(
    opened: OpenStore, rust: Path, prefix: str | None
) -> None:
    left(rust, keys=[{**KEY, "key_prefix": prefix, "key_hash": digest_of(SECRET).upper()}])
    accounts = await found(opened)
    recognised = find_key(accounts, SECRET)
    assert recognised is not None
    assert recognised.id == KEY_ID
    assert find_key(accounts, SECRET[:-1]) is None


async def test_an_open_invitation_still_lets_in(opened: OpenStore, rust: Path) -> None:
    left(rust, invitations=[INVITATION])
    assert open_invitation(await found(opened), digest_of(CODE), NOW).id == INVITATION_ID


@pytest.mark.parametrize(
    ("columns", "permissions"),
    [
        ({"permissions": "[]"}, frozenset()),
        ({"permissions": '["openai.inference", "root", 7]'}, {Permission.INFERENCE}),
        ({"permissions": "everything"}, frozenset()),
        ({"permissions": '["logs.read"]', "scopes": '["admin"]'}, {Permission.LOGS_READ}),
        # keys that are older than permissions
        ({"permissions": None, "scopes": '["api"]'}, VIEWER_PERMISSIONS),
        ({"permissions": None, "scopes": '["runtime"]'}, {Permission.REGISTRY_READ}),
        ({"permissions": None, "scopes": '["admin", "x", 7]'}, frozenset(Permission)),
        ({"permissions": None, "scopes": "admin"}, frozenset()),
        ({"permissions": None, "scopes": '["everything"]'}, frozenset()),
    ],
)
async def test_a_key_can_do_what_it_could_as_far_as_there_is_such_a_thing(
    opened: OpenStore, rust: Path, columns: dict[str, Any], permissions: object
) -> None:
    left(rust, keys=[{**KEY, **columns}])
    assert (await found(opened)).keys[KeyId(KEY_ID)].permissions == permissions


@pytest.mark.parametrize("role", ["owner", "Admin", "", "root"])
async def test_whose_role_is_unknown_is_a_viewer(opened: OpenStore, rust: Path, role: str) -> None:
    left(rust, users=[{**ANN, "role": role}])
    assert (await found(opened)).users[UserId(ANN_ID)].role is Role.VIEWER


@pytest.mark.parametrize("status", ["open", "", "expired"])
async def test_an_invitation_whose_status_is_unknown_is_revoked(
    opened: OpenStore, rust: Path, status: str
) -> None:
    left(rust, invitations=[{**INVITATION, "status": status}])
    (one,) = (await found(opened)).invitations.values()
    assert one.status is InvitationStatus.REVOKED


async def test_a_name_is_kept_in_the_form_that_logging_in_knows(
    opened: OpenStore, rust: Path
) -> None:
    left(rust, users=[{**ANN, "username": "Rene\u0301"}])
    assert (await found(opened)).by_name.keys() == {"Ren\u00e9"}


# -- what is there already


async def before(opened: OpenStore, *rows: Any) -> None:
    """An installation that has accounts of its own when the Rust database is put beside it."""
    store = await opened()
    await store.accounts.change(rows, ())
    await store.close()


async def test_of_two_users_with_one_name_the_imported_one_gets_another_and_it_is_said(
    opened: OpenStore, rust: Path, database: Path
) -> None:
    await before(opened, user("ann"), user("ann (2)"))
    left(rust, keys=[KEY])
    with capture_logs() as logs:
        accounts = await found(opened)
    assert accounts.users[UserId("user-ann")] == user("ann")
    assert accounts.users[UserId(ANN_ID)].username == "ann (3)"
    assert accounts.keys[KeyId(KEY_ID)].owner == ANN_ID, "whose keys are still his"
    assert ("imported", "users: 'ann' became 'ann (3)'", None) in reported(database)
    assert "record 1: users: 'ann' became 'ann (3)'" in [log.get("first_problem") for log in logs]


async def test_of_two_keys_of_one_owner_with_one_name_the_later_gets_another(
    opened: OpenStore, rust: Path
) -> None:
    """The Rust llmlb did not always refuse the second one."""
    second = {**KEY, "id": "k-2", "key_hash": "2" * 64}
    unnamed = {**KEY, "id": "k-3", "key_hash": "3" * 64, "name": " "}
    left(rust, keys=[KEY, second, unnamed])
    names = {one.id: one.name for one in (await found(opened)).keys.values()}
    assert names == {KEY_ID: "laptop", "k-2": "laptop (2)", "k-3": "imported"}


async def test_what_is_there_by_its_id_or_its_secret_stays_as_it_is(
    opened: OpenStore, rust: Path, database: Path
) -> None:
    mine = user("ann"), key("old")
    await before(opened, *mine)
    known = {**ANN, "id": "user-ann", "username": "somebody else"}
    same_secret = {**KEY, "key_hash": key("old").digest, "created_by": "user-ann"}
    same_id = {**KEY, "id": "key-old", "key_hash": "9" * 64, "created_by": "user-ann"}
    left(rust, users=[known], keys=[same_secret, same_id])
    assert await found(opened) == Accounts.of(mine)
    assert [outcome for outcome, *_ in reported(database)] == ["known"] * 3


# -- once


async def test_it_is_imported_once_though_it_changes_and_though_users_are_deleted(
    opened: OpenStore, rust: Path
) -> None:
    left(rust, users=[ANN, VIC])
    store = await opened()
    gone = (await store.accounts.all()).users[UserId(VIC_ID)]
    await store.accounts.change((), [gone])
    await store.close()
    with closing(sqlite3.connect(rust)) as running, running:
        insert(running, {"users": [{**VIC, "id": "u-3", "username": "eve"}]})
    assert (await found(opened)).by_name.keys() == {"ann"}


async def test_who_has_imported_the_endpoints_before_gets_the_accounts_now(
    opened: OpenStore, rust: Path, database: Path
) -> None:
    left(rust, users=[])
    store = await opened()
    await store.close()
    with closing(sqlite3.connect(database)) as ours, ours:
        ours.execute("DELETE FROM imports WHERE file_name LIKE '%(accounts)'")
    with closing(sqlite3.connect(rust)) as running, running:
        insert(running, {"users": [ANN], "endpoints": [ENDPOINT]})
    store = await opened()
    assert (await store.accounts.all()).by_name.keys() == {"ann"}
    assert await store.endpoints.all() == [], "of which it has had its share"


async def test_endpoints_that_cannot_be_read_do_not_hold_up_the_accounts(
    opened: OpenStore, rust: Path
) -> None:
    make(rust, SCHEMA, {"users": [ANN], "endpoints": [{**ENDPOINT, "base_url": "box"}]})
    assert (await found(opened)).by_name.keys() == {"ann"}


async def test_a_database_of_before_there_were_users_is_no_trouble_and_no_news(
    opened: OpenStore, rust: Path
) -> None:
    make(rust, LATEST, {"endpoints": [ENDPOINT]})
    with capture_logs() as logs:
        assert await found(opened) == Accounts()
    assert [log["file"] for log in logs] == [str(rust)]


async def test_the_import_of_accounts_has_a_line_of_its_own_in_the_log(
    opened: OpenStore, rust: Path
) -> None:
    left(rust, users=[ANN, VIC], keys=[KEY])
    with capture_logs() as logs:
        await found(opened)
    (line,) = [log for log in logs if log["file"].endswith("(accounts)")]
    assert (line["imported"], line["first_problem"]) == (3, None)


async def test_it_is_all_in_one_transaction(
    opened: OpenStore, rust: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left(rust, keys=[KEY], invitations=[INVITATION])

    def cut_off(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr("llmlb.store.import_rust_accounts._Present._remember", cut_off)
        assert await found(opened) == Accounts()
    accounts = await found(opened)
    assert (len(accounts.users), len(accounts.keys), len(accounts.invitations)) == (1, 1, 1)


# -- what cannot be read


@pytest.mark.parametrize(
    ("table", "record", "says"),
    [
        ("users", {**VIC, "id": ""}, "users: a record has no id"),
        ("users", {**VIC, "username": " "}, "users: a username may not be blank"),
        ("users", {**VIC, "username": b"vic"}, "users: a username may not be blank"),
        ("users", {**VIC, "username": "v" * 65}, "users: a username may not be longer than 64"),
        ("users", {**VIC, "username": "v\nic"}, "users: a username may not hold control"),
        ("users", {**VIC, "password_hash": ""}, "users: 'vic' has no password"),
        ("api_keys", {**KEY, "id": " "}, "api_keys: a record has no id"),
        ("api_keys", {**KEY, "key_hash": SECRET}, f"the key_hash of '{KEY_ID}' is no SHA-256"),
        ("api_keys", {**KEY, "key_hash": b"0" * 64}, "is no SHA-256"),
        ("api_keys", {**KEY, "created_by": VIC_ID}, "the owner of 'laptop' was not imported"),
        ("api_keys", {**KEY, "created_by": ""}, "the owner of 'laptop' was not imported"),
        ("api_keys", {**KEY, "expires_at": "soon"}, f"the expires_at of '{KEY_ID}' is no instant"),
        ("api_keys", {**KEY, "expires_at": ""}, "is no instant"),
        ("invitation_codes", {**INVITATION, "code_hash": CODE}, "the code_hash of"),
        ("invitation_codes", {**INVITATION, "expires_at": "soon"}, "is no instant"),
    ],
)
async def test_what_cannot_be_read_is_left_out_and_reported_without_its_secrets(
    opened: OpenStore, rust: Path, table: str, record: dict[str, Any], says: str
) -> None:
    rows: dict[str, list[dict[str, Any]]] = {"users": [ANN]}
    rows.setdefault(table, []).append(record)
    make(rust, SCHEMA, rows)
    with capture_logs() as logs:
        assert await found(opened) == Accounts.of(
            [User(UserId(ANN_ID), "ann", HASH, Role.ADMIN, FIRST)]
        )
    ((_, remark, kept),) = [
        told for told in reported(rust.with_name("llmlb.db")) if told[0] == "unreadable"
    ]
    assert remark is not None
    assert says in remark
    assert kept is not None
    shown = json.loads(kept)
    assert shown["table"] == table
    assert not shown.keys() & {"password_hash", "key_hash", "code_hash"}
    for secret in (HASH, SECRET, CODE, digest_of(SECRET), digest_of(CODE)):
        assert secret not in f"{kept} {remark} {logs}"


async def test_columns_that_nobody_knows_are_not_kept_either(
    opened: OpenStore, rust: Path, database: Path
) -> None:
    schema = SCHEMA + "ALTER TABLE users ADD COLUMN recovery_code TEXT;"
    make(rust, schema, {"users": [ANN, {**VIC, "username": "", "recovery_code": "hidden"}]})
    await found(opened)
    assert "hidden" not in str(reported(database))


async def test_if_nothing_can_be_read_it_is_said_and_tried_again(
    opened: OpenStore, rust: Path
) -> None:
    left(rust, users=[{**ANN, "password_hash": ""}])
    for _ in range(2):
        with capture_logs() as logs:
            assert await found(opened) == Accounts()
        (line,) = [log for log in logs if log["log_level"] == "error"]
        assert "'ann' has no password" in line["reason"]
    with closing(sqlite3.connect(rust)) as mended, mended:
        mended.execute("UPDATE users SET password_hash = ?", [HASH])
    assert (await found(opened)).by_name.keys() == {"ann"}


async def test_it_is_never_written(opened: OpenStore, rust: Path) -> None:
    left(rust, keys=[KEY])
    content = rust.read_bytes()
    rust.chmod(0o444)
    assert (await found(opened)).has_admin
    assert rust.read_bytes() == content
    assert [file.name for file in rust.parent.glob("load balancer*")] == [rust.name]


async def test_a_store_in_memory_imports_them_as_well(opened: OpenStore, rust: Path) -> None:
    left(rust)
    store: Store = await opened("sqlite::memory:")
    assert (await store.accounts.all()).has_admin
