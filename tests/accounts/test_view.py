"""How one view of the accounts leads to the next."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from datetime import timedelta

import pytest

from llmlb.accounts import Accounts, Invitation, RevokedSession, Role, UserId
from tests.fakes.accounts import LONG_AGO, cheap_hash, key, secret_of, user

INVITATION = Invitation("inv-1", "d" * 64, UserId("user-ann"), LONG_AGO, LONG_AGO)
SESSION = RevokedSession("s-1", UserId("user-ann"), LONG_AGO)


def test_of_nothing_there_is_nobody() -> None:
    nobody = Accounts()
    assert not any((nobody.users, nobody.keys, nobody.invitations, nobody.revoked))
    assert not any((nobody.has_admin, nobody.admins, nobody.by_name, nobody.by_prefix))


def test_rows_of_every_kind_are_put_in_replaced_and_dropped() -> None:
    rows = (user(), key(), INVITATION, SESSION)
    full = Accounts.of(rows)
    assert (full.users, full.keys) == ({"user-ann": user()}, {"key-laptop": key()})
    assert (full.invitations, full.revoked) == ({"inv-1": INVITATION}, {"s-1": SESSION})

    newer = (
        user(generation=1),
        key(enabled=False),
        replace(INVITATION, used_at=LONG_AGO),
        replace(SESSION, expires_at=LONG_AGO + timedelta(1)),
    )
    assert full.with_changes(put=newer) == Accounts.of(newer)
    assert full.with_changes(drop=rows) == Accounts()
    assert Accounts().with_changes(drop=rows) == Accounts(), "and nothing that is not there"
    assert full.with_changes(put=newer, drop=rows) == Accounts.of(newer)


def test_a_change_leaves_the_view_before_as_it_was() -> None:
    before = Accounts.of([user()])
    after = before.with_changes(put=[user("bob"), key()], drop=[user()])
    assert before == Accounts.of([user()])
    assert before.by_name.keys() == {"ann"}
    assert after.by_name.keys() == {"bob"}


def test_a_view_cannot_be_written() -> None:
    view = Accounts.of([user(), key()])
    with pytest.raises(FrozenInstanceError):
        view.has_admin = False  # type: ignore[misc]  # that is the point
    with pytest.raises(TypeError):
        view.by_name["eve"] = user("eve")  # type: ignore[index]  # that is the point
    with pytest.raises(TypeError):
        view.by_prefix[""] = ()  # type: ignore[index]  # that is the point


def test_it_knows_whether_there_is_an_administrator() -> None:
    view = Accounts.of([user("ann"), user("vic", Role.VIEWER)])
    assert view.has_admin
    assert view.admins == [user("ann")]
    assert not view.with_changes(drop=[user("ann")]).has_admin
    assert not view.with_changes(put=[user("ann", Role.VIEWER)]).has_admin


def test_a_name_that_was_given_up_means_nobody() -> None:
    view = Accounts.of([user("ann")]).with_changes(put=[replace(user("ann"), username="anna")])
    assert view.by_name.keys() == {"anna"}


def test_keys_are_found_by_their_prefix_also_where_several_share_it() -> None:
    one, two, bare = key("laptops-1"), key("laptops-2"), replace(key("old"), prefix="")
    view = Accounts.of([user(), one, two, bare])
    assert view.by_prefix == {one.prefix: (one, two), "": (bare,)}


def test_the_keys_of_a_user_come_newest_first() -> None:
    later = LONG_AGO + timedelta(days=1)
    rows = [key("b"), key("c", created_at=later), key("a"), key("d", owner="bob")]
    view = Accounts.of([user(), user("bob"), *rows])
    assert [one.name for one in view.keys_of(UserId("user-ann"))] == ["c", "b", "a"]
    assert view.keys_of(UserId("user-eve")) == []


def test_nothing_shows_a_secret() -> None:
    view = Accounts.of([user(), key(), INVITATION])
    shown = f"{view!r} {user()!r} {key()!r} {INVITATION!r}"
    for secret in (cheap_hash(), secret_of("laptop"), key().digest, INVITATION.digest):
        assert secret not in shown
    assert repr(view) == "<Accounts: 1 users, 1 keys>"
