"""Users, keys and invitations over restarts, and what is made of rows that somebody has edited."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.accounts import (
    Accounts,
    ApiKey,
    Invitation,
    InvitationStatus,
    KeyId,
    KeyLimits,
    Permission,
    RevokedSession,
    Role,
    Row,
    Step,
    User,
    UserId,
)
from llmlb.accounts.changes import edit_user, remove_user
from llmlb.errors import StoreUnavailable
from llmlb.store.account_rows import COLUMNS, READ, permissions_of, values_of
from llmlb.store.burst import Burst
from llmlb.store.database import Transaction
from llmlb.store.opening import Store
from tests.store.conftest import NOW, OpenStore

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=1, microseconds=7)

ANN = User(UserId("u-1"), "ann", "$argon2id$…", Role.ADMIN, NOW, LATER, True, 3)
BOB = User(UserId("u-2"), "bob", "$2b$…", Role.VIEWER, NOW)
FULL_KEY = ApiKey(
    KeyId("k-1"),
    ANN.id,
    "laptop",
    "sk_abcdefg",
    "0" * 64,
    NOW,
    frozenset({Permission.INFERENCE, Permission.LOGS_READ}),
    LATER,
    frozenset({"tiny", "llama 3:8b"}),
    KeyLimits(60, 10_000, 4),
    False,
)
BARE_KEY = ApiKey(KeyId("k-2"), ANN.id, "bare", "", "1" * 64, NOW, frozenset())
FULL_INVITATION = Invitation(
    "i-1", "2" * 64, ANN.id, NOW, LATER, InvitationStatus.USED, BOB.id, LATER
)
BARE_INVITATION = Invitation("i-2", "3" * 64, UserId("gone"), NOW, LATER)
SESSION = RevokedSession("s-1", ANN.id, LATER)

EVERYTHING: list[Row] = [ANN, BOB, FULL_KEY, BARE_KEY, FULL_INVITATION, BARE_INVITATION, SESSION]


async def kept(store: Store, *rows: Row) -> Accounts:
    """What is there once *rows* have been put."""
    await store.accounts.change(rows, ())
    return await store.accounts.all()


async def edit(store: Store, statement: str, *values: Any) -> None:
    """What somebody does to the database with a tool of their own."""

    def work(statements: Transaction) -> None:
        assert statements.run(statement, *values)

    await store._database.write(work)


async def test_every_field_survives_a_restart(opened: OpenStore) -> None:
    store = await opened()
    await store.accounts.change(EVERYTHING, ())
    await store.close()
    found = await (await opened()).accounts.all()
    assert found == Accounts.of(EVERYTHING)
    for row in (FULL_KEY, FULL_INVITATION, ANN):
        defaults = {f.name: f.default for f in fields(row)}
        left = {name for name, value in defaults.items() if getattr(row, name) == value}
        assert left <= {"last_used_at"}, "what has its default shows nothing"


async def test_what_is_put_again_takes_the_place_of_what_was(store: Store) -> None:
    await kept(store, *EVERYTHING)
    newer: list[Row] = [
        replace(ANN, username="anna", last_login_at=None, generation=4),
        replace(FULL_KEY, name="desk", allowed_models=None, limits=KeyLimits(), enabled=True),
        replace(FULL_INVITATION, status=InvitationStatus.REVOKED, used_by=None, used_at=None),
        replace(SESSION, expires_at=NOW),
    ]
    assert await kept(store, *newer) == Accounts.of([*EVERYTHING, *newer])


async def test_what_is_dropped_is_gone_before_the_rest_is_put(store: Store) -> None:
    """So that a name can be given up and taken in one change."""
    await kept(store, *EVERYTHING)
    taken = replace(BOB, id=UserId("u-3"))
    dropped: list[Row] = [BOB, FULL_INVITATION, FULL_KEY, SESSION]
    await store.accounts.change([taken], dropped)
    assert await store.accounts.all() == Accounts.of([ANN, taken, BARE_KEY, BARE_INVITATION])


async def test_what_is_not_there_can_be_dropped(store: Store) -> None:
    await store.accounts.change((), EVERYTHING)
    assert await store.accounts.all() == Accounts()


async def test_a_change_is_made_whole_or_not_at_all(store: Store) -> None:
    before = await kept(store, *EVERYTHING)
    with pytest.raises(StoreUnavailable):
        await store.accounts.change(
            [replace(BOB, username="robert"), replace(ANN, id=UserId("u-9"))], [SESSION]
        )
    assert await store.accounts.all() == before


async def test_with_a_user_go_keys_and_ended_sessions_and_invitations_stay(store: Store) -> None:
    await kept(store, *EVERYTHING)
    await store.accounts.change((), [ANN])
    assert await store.accounts.all() == Accounts.of([BOB, FULL_INVITATION, BARE_INVITATION])


async def test_what_the_rules_make_of_the_view_the_store_makes_of_the_rows(store: Store) -> None:
    accounts = await kept(store, *EVERYTHING, replace(BOB, role=Role.ADMIN))
    changes: list[Callable[[Accounts], Step[User]]] = [
        lambda a: edit_user(a, BOB.id, username="x", password_hash="y"),
        lambda a: remove_user(a, ANN.id),
    ]
    for change in changes:
        step = change(accounts)
        accounts = accounts.with_changes(put=step.put, drop=step.drop)
        await store.accounts.change(step.put, step.drop)
        assert await store.accounts.all() == accounts


@pytest.mark.parametrize(
    "nasty",
    [
        "'; DROP TABLE users; --",
        '" OR "1"="1',
        "ann' UNION SELECT password_hash FROM users --",
        "%_\\'\"\x00;",
        "名前 😀 ",
    ],
)
async def test_names_are_data_whatever_they_look_like(store: Store, nasty: str) -> None:
    rows: list[Row] = [
        replace(ANN, username=nasty, password_hash=nasty),
        replace(BOB, id=UserId(nasty)),
        replace(
            FULL_KEY, id=KeyId(nasty), name=nasty, prefix="sk_", allowed_models=frozenset({nasty})
        ),
        replace(FULL_INVITATION, id=nasty),
    ]
    assert await kept(store, *rows) == Accounts.of(rows)
    await store.statistics.write(Burst(key_uses={KeyId(nasty): LATER}))
    found = await store.accounts.all()
    assert found.keys[KeyId(nasty)].last_used_at == LATER
    await store.accounts.change((), rows)
    assert await store.accounts.all() == Accounts()


# -- when keys were used


async def test_when_a_key_was_used_is_written_behind_and_read_at_the_start(store: Store) -> None:
    await kept(store, *EVERYTHING)
    uses = {FULL_KEY.id: LATER, KeyId("gone"): NOW}
    await store.statistics.write(Burst(key_uses=uses))
    found = (await store.accounts.all()).keys
    assert found[FULL_KEY.id] == replace(FULL_KEY, last_used_at=LATER)
    assert found[BARE_KEY.id] == BARE_KEY


async def test_a_key_that_is_edited_keeps_when_it_was_used(store: Store) -> None:
    await kept(store, *EVERYTHING)
    await store.statistics.write(Burst(key_uses={FULL_KEY.id: LATER}))
    edited = replace(FULL_KEY, name="desk")  # whose view is as old as the start
    found = (await kept(store, edited)).keys
    assert found[FULL_KEY.id] == replace(edited, last_used_at=LATER)


# -- rows that somebody has edited count as the least


@pytest.mark.parametrize(
    ("column", "value", "least"),
    [
        ("role", "Admin", {"role": Role.VIEWER}),
        ("role", "root", {"role": Role.VIEWER}),
        ("created_at", "long ago", {"created_at": EPOCH}),
        ("last_login_at", "yesterday", {"last_login_at": None}),
        ("must_change_password", "no", {"must_change_password": True}),
        ("must_change_password", 2, {"must_change_password": True}),
        ("generation", "x", {"generation": 0}),
        ("generation", -1, {"generation": 0}),
    ],
)
async def test_a_user_who_cannot_be_read_is_a_viewer_with_a_password_to_change(
    store: Store, column: str, value: object, least: dict[str, Any]
) -> None:
    await kept(store, ANN)
    await edit(store, f'UPDATE "users" SET "{column}" = ?', value)
    assert (await store.accounts.all()).users == {ANN.id: replace(ANN, **least)}


@pytest.mark.parametrize(
    ("column", "value", "least"),
    [
        ("expires_at", "never", {"expires_at": EPOCH}),
        ("expires_at", "", {"expires_at": EPOCH}),
        ("expires_at", None, {"expires_at": None}),
        ("permissions", "everything", {"permissions": frozenset()}),
        ("permissions", '{"openai.inference": true}', {"permissions": frozenset()}),
        ("permissions", "[" * 100_000, {"permissions": frozenset()}),
        (
            "permissions",
            '["openai.inference", "root", 7, null]',
            {"permissions": frozenset({Permission.INFERENCE})},
        ),
        ("allowed_models", "all", {"allowed_models": frozenset()}),
        ("allowed_models", '"tiny"', {"allowed_models": frozenset()}),
        ("allowed_models", '["tiny", 7]', {"allowed_models": frozenset({"tiny"})}),
        ("requests_per_minute", "many", {"limits": KeyLimits(0, 10_000, 4)}),
        ("tokens_per_minute", -5, {"limits": KeyLimits(60, 0, 4)}),
        ("max_concurrency", 1.5, {"limits": KeyLimits(60, 10_000, 0)}),
        ("max_concurrency", None, {"limits": KeyLimits(60, 10_000, None)}),
        ("enabled", "yes", {"enabled": False}),
        ("enabled", 2, {"enabled": False}),
        ("created_at", "", {"created_at": EPOCH}),
        ("prefix", " ", {"prefix": ""}),
        ("last_used_at", "x", {"last_used_at": None}),
    ],
)
async def test_a_key_that_cannot_be_read_opens_as_little_as_can_be(
    store: Store, column: str, value: object, least: dict[str, Any]
) -> None:
    on = replace(FULL_KEY, enabled=True)
    await kept(store, ANN, on)
    await edit(store, f'UPDATE "api_keys" SET "{column}" = ?', value)
    assert (await store.accounts.all()).keys == {on.id: replace(on, **least)}


@pytest.mark.parametrize(
    ("column", "value", "least"),
    [
        ("status", "open", {"status": InvitationStatus.REVOKED}),
        ("status", "", {"status": InvitationStatus.REVOKED}),
        ("expires_at", "never", {"expires_at": EPOCH}),
        ("created_at", "x", {"created_at": EPOCH}),
        ("used_by", " ", {"used_by": None}),
        ("used_at", "x", {"used_at": None}),
    ],
)
async def test_an_invitation_that_cannot_be_read_invites_nobody(
    store: Store, column: str, value: object, least: dict[str, Any]
) -> None:
    await kept(store, FULL_INVITATION)
    await edit(store, f'UPDATE "invitations" SET "{column}" = ?', value)
    found = (await store.accounts.all()).invitations
    assert found == {FULL_INVITATION.id: replace(FULL_INVITATION, **least)}


async def test_a_session_whose_end_cannot_be_read_stays_ended(store: Store) -> None:
    await kept(store, ANN, SESSION)
    await edit(store, 'UPDATE "revoked_sessions" SET "expires_at" = ?', "soon")
    (found,) = (await store.accounts.all()).revoked.values()
    assert found.expires_at > NOW + timedelta(days=10**6)


# -- rows and back, whatever they hold

INSTANTS = st.datetimes(timezones=st.just(UTC))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
LIMITS = st.none() | st.integers(0, 2**63 - 1)
USERS = st.builds(
    User,
    id=TEXTS,
    username=TEXTS,
    password_hash=TEXTS,
    role=st.sampled_from(Role),
    created_at=INSTANTS,
    last_login_at=st.none() | INSTANTS,
    must_change_password=st.booleans(),
    generation=st.integers(0, 10**9),
)
KEYS = st.builds(
    ApiKey,
    id=TEXTS,
    owner=TEXTS,
    name=TEXTS,
    prefix=st.just("") | st.from_regex(r"[!-~]{1,10}", fullmatch=True),
    digest=TEXTS,
    created_at=INSTANTS,
    permissions=st.frozensets(st.sampled_from(Permission)),
    expires_at=st.none() | INSTANTS,
    allowed_models=st.none() | st.frozensets(st.text()),
    limits=st.builds(KeyLimits, LIMITS, LIMITS, LIMITS),
    enabled=st.booleans(),
    last_used_at=st.none(),
)
INVITATIONS = st.builds(
    Invitation,
    id=TEXTS,
    digest=TEXTS,
    created_by=TEXTS,
    created_at=INSTANTS,
    expires_at=INSTANTS,
    status=st.sampled_from(InvitationStatus),
    used_by=st.none() | st.uuids().map(str),
    used_at=st.none() | INSTANTS,
)
SESSIONS = st.builds(RevokedSession, id=TEXTS, owner=TEXTS, expires_at=INSTANTS)


@given(USERS | KEYS | INVITATIONS | SESSIONS)
def test_a_row_reads_as_what_it_was_made_of(row: Row) -> None:
    columns = COLUMNS[type(row)][1]
    stored = dict(zip(columns, values_of(row), strict=True))
    assert columns[0] == "id"
    assert READ[type(row)]({"last_used_at": None, **stored}) == row


@given(st.none() | st.integers() | st.text() | st.binary())
def test_no_column_of_permissions_is_too_odd_to_be_read(value: object) -> None:
    assert permissions_of(value) <= frozenset(Permission)
