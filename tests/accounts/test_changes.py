"""Every rule about users, keys and invitations, one by one and in any order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from llmlb.accounts import (
    Accounts,
    ApiKey,
    Invitation,
    InvitationStatus,
    KeyId,
    RevokedSession,
    Role,
    Row,
    Step,
    User,
    UserId,
    changes,
)
from llmlb.accounts.changes import (
    MOST_REVOKED_EACH,
    accept_invitation,
    add_first_admin,
    add_invitation,
    add_key,
    add_user,
    edit_key,
    edit_user,
    end_session,
    key_of,
    log_in,
    open_invitation,
    remove_key,
    remove_user,
    revoke_invitation,
    set_own_password,
    user_of,
)
from llmlb.accounts.credentials import digest_of
from llmlb.errors import Conflict, InvalidRequest, LbError, NotFound
from tests.fakes.accounts import LONG_AGO, key, user

T = TypeVar("T")

NOW = LONG_AGO + timedelta(days=10)
ANN, BOB, VIC = user("ann"), user("bob"), user("vic", Role.VIEWER)
DAY = timedelta(days=1)


def after(accounts: Accounts, step: Step[Any]) -> Accounts:
    """The view once *step* has been taken."""
    return accounts.with_changes(put=step.put, drop=step.drop)


def invitation(name: str = "one", **fields: Any) -> Invitation:
    fields.setdefault("expires_at", NOW + 3 * DAY)
    return Invitation(f"inv-{name}", digest_of(name), ANN.id, LONG_AGO, **fields)


def session(name: str, *, owner: User = ANN, ends_in: timedelta = DAY) -> RevokedSession:
    return RevokedSession(name, owner.id, NOW + ends_in)


# -- users


def test_the_first_administrator_comes_in_once() -> None:
    with_ann = after(Accounts(), add_first_admin(Accounts(), ANN))
    assert with_ann.admins == [ANN]
    with pytest.raises(Conflict, match="log in"):
        add_first_admin(with_ann, BOB)


def test_the_first_administrator_may_come_after_viewers_but_not_with_their_name() -> None:
    accounts = Accounts.of([VIC])
    assert after(accounts, add_first_admin(accounts, ANN)).has_admin
    with pytest.raises(Conflict, match="taken"):
        add_first_admin(accounts, replace(ANN, username="vic"))


def test_a_name_is_taken_by_one_user_alone() -> None:
    accounts = Accounts.of([ANN])
    with pytest.raises(Conflict, match="'ann' is taken") as refusal:
        add_user(accounts, replace(BOB, username="ann"))
    assert refusal.value.param == "username"
    assert after(accounts, add_user(accounts, BOB)).by_name.keys() == {"ann", "bob"}


def test_there_are_not_too_many_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MOST_USERS", 2)
    with pytest.raises(InvalidRequest, match="2 users already"):
        add_user(Accounts.of([ANN, BOB]), VIC)


def test_an_edit_changes_what_it_names_and_nothing_else() -> None:
    accounts = Accounts.of([ANN, VIC])
    assert edit_user(accounts, VIC.id).answer == VIC
    assert edit_user(accounts, VIC.id, username="vicky").answer == replace(VIC, username="vicky")
    assert edit_user(accounts, VIC.id, username="vic").answer == VIC, "its own name is not taken"
    assert edit_user(accounts, VIC.id, role=Role.ADMIN).answer == replace(VIC, role=Role.ADMIN)


def test_nobody_is_renamed_to_somebody_else() -> None:
    with pytest.raises(Conflict, match="'ann' is taken"):
        edit_user(Accounts.of([ANN, BOB]), BOB.id, username="ann")


def test_a_password_that_somebody_else_sets_is_to_be_changed_and_ends_all_sessions() -> None:
    edited = edit_user(Accounts.of([ANN]), ANN.id, password_hash="new").answer
    assert edited.must_change_password
    assert (edited.password_hash, edited.generation) == ("new", ANN.generation + 1)


def test_ones_own_password_need_not_be_changed_again_and_ends_all_sessions() -> None:
    due = replace(ANN, must_change_password=True, generation=4)
    changed = set_own_password(Accounts.of([due]), ANN.id, "new").answer
    assert not changed.must_change_password
    assert (changed.password_hash, changed.generation) == ("new", 5)


def test_the_last_administrator_stays_one() -> None:
    accounts = Accounts.of([ANN, VIC])
    attempts: list[Callable[[], object]] = [
        lambda: edit_user(accounts, ANN.id, role=Role.VIEWER),
        lambda: remove_user(accounts, ANN.id),
    ]
    for attempt in attempts:
        with pytest.raises(InvalidRequest, match="last administrator") as refusal:
            attempt()
        assert refusal.value.error_code() == "last_admin"
    assert edit_user(accounts, ANN.id, username="anna").answer.role is Role.ADMIN


def test_one_of_two_administrators_may_go_and_viewers_at_any_time() -> None:
    accounts = Accounts.of([ANN, BOB, VIC])
    assert not after(accounts, remove_user(accounts, VIC.id)).users.get(VIC.id)
    without_ann = after(accounts, remove_user(accounts, ANN.id))
    assert without_ann.admins == [BOB]
    assert edit_user(accounts, ANN.id, role=Role.VIEWER).answer.role is Role.VIEWER
    assert edit_user(accounts, VIC.id, username="v", role=Role.VIEWER).answer.username == "v"


def test_keys_and_sessions_go_with_their_user_and_invitations_stay() -> None:
    of_bob, of_ann = key("b", owner="bob"), key("a")
    ended = session("s", owner=BOB)
    invited = replace(invitation(), created_by=BOB.id)
    rows: list[Row] = [ANN, BOB, of_ann, of_bob, ended, session("t"), invited]
    left = after(Accounts.of(rows), remove_user(Accounts.of(rows), BOB.id))
    assert left == Accounts.of([ANN, of_ann, session("t"), invited])


@pytest.mark.parametrize(
    "attempt",
    [
        lambda a: user_of(a, UserId("nobody")),
        lambda a: edit_user(a, UserId("nobody"), username="x"),
        lambda a: remove_user(a, UserId("nobody")),
        lambda a: set_own_password(a, UserId("nobody"), "hash"),
        lambda a: add_key(a, key(owner="nobody")),
    ],
)
def test_of_a_user_who_is_not_there_it_is_said_so(attempt: Callable[[Accounts], object]) -> None:
    with pytest.raises(NotFound, match="no user with this id"):
        attempt(Accounts.of([ANN]))


# -- logging in and out


def test_logging_in_is_remembered() -> None:
    came_in = log_in(Accounts.of([ANN]), ANN, now=NOW, better_hash=None).answer
    assert came_in == replace(ANN, last_login_at=NOW)


def test_a_better_hash_takes_the_place_of_the_one_before_and_ends_no_session() -> None:
    came_in = log_in(Accounts.of([ANN]), ANN, now=NOW, better_hash="better").answer
    assert came_in == replace(ANN, last_login_at=NOW, password_hash="better")


@pytest.mark.parametrize("now_there", [None, replace(ANN, password_hash="changed meanwhile")])
def test_whoever_has_changed_since_the_password_was_checked_is_not_let_in(
    now_there: User | None,
) -> None:
    accounts = Accounts.of([] if now_there is None else [now_there])
    step = log_in(accounts, ANN, now=NOW, better_hash="better")
    assert (step.answer, step.put, step.drop) == (None, (), ())


def test_what_else_has_changed_since_is_kept() -> None:
    renamed = replace(ANN, username="anna", role=Role.VIEWER)
    assert log_in(Accounts.of([renamed]), ANN, now=NOW, better_hash=None).answer == replace(
        renamed, last_login_at=NOW
    )


def test_a_session_that_is_ended_is_kept_until_its_end_and_not_longer() -> None:
    over, just_over = session("over", ends_in=-DAY), session("just", ends_in=timedelta(0))
    accounts = Accounts.of([ANN, BOB, over, just_over, session("of bob", owner=BOB)])
    left = after(accounts, end_session(accounts, session("now"), NOW))
    assert left.revoked.keys() == {"of bob", "now"}


def test_the_session_of_somebody_who_is_gone_needs_no_remembering() -> None:
    accounts = Accounts.of([ANN, session("over", ends_in=-DAY)])
    left = after(accounts, end_session(accounts, session("s", owner=BOB), NOW))
    assert left == Accounts.of([ANN])


def test_too_many_ended_sessions_of_one_user_end_all_of_them() -> None:
    of_bob = session("of bob", owner=BOB)
    ended = [session(str(n)) for n in range(MOST_REVOKED_EACH - 1)]
    accounts = Accounts.of([ANN, BOB, of_bob, *ended])
    full = after(accounts, end_session(accounts, session("last"), NOW))
    assert len(full.revoked) == MOST_REVOKED_EACH + 1
    assert full.users == accounts.users

    beyond = after(full, end_session(full, session("one more"), NOW))
    assert beyond.users[ANN.id] == replace(ANN, generation=ANN.generation + 1)
    assert beyond.revoked == {"of bob": of_bob}, "and nothing of the others"


# -- keys


def test_two_users_may_have_keys_of_the_same_name_but_not_one() -> None:
    accounts = Accounts.of([ANN, BOB, key("k")])
    of_bob = replace(key("k", owner="bob"), id=KeyId("other"))
    assert len(after(accounts, add_key(accounts, of_bob)).keys) == 2
    with pytest.raises(InvalidRequest, match="named 'k' already") as refusal:
        add_key(accounts, replace(key("k"), id=KeyId("other")))
    assert refusal.value.param == "name"


def test_a_user_does_not_have_too_many_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MOST_KEYS_EACH", 2)
    accounts = Accounts.of([ANN, BOB, key("1"), key("2")])
    with pytest.raises(InvalidRequest, match="2 keys already"):
        add_key(accounts, key("3"))
    assert add_key(accounts, key("3", owner="bob")).answer.name == "3"


def test_an_edited_key_takes_the_place_of_the_one_before() -> None:
    accounts = Accounts.of([ANN, key("k"), key("l")])
    edited = replace(key("k"), enabled=False)
    assert after(accounts, edit_key(accounts, edited)).keys[edited.id] == edited
    with pytest.raises(InvalidRequest, match="named 'l' already"):
        edit_key(accounts, replace(edited, name="l"))
    with pytest.raises(NotFound):
        edit_key(accounts, key("gone"))


def test_a_key_is_removed_by_its_owner_or_by_whoever_may_remove_any() -> None:
    accounts = Accounts.of([ANN, BOB, key("k")])
    for owner in (ANN.id, None):
        assert after(accounts, remove_key(accounts, KeyId("key-k"), owner=owner)).keys == {}


def test_a_key_of_somebody_else_is_refused_in_the_words_for_one_that_is_not_there() -> None:
    accounts = Accounts.of([ANN, BOB, key("k")])
    told = set()
    for key_id, owner in (("key-k", BOB.id), ("nothing", BOB.id), ("nothing", None)):
        for attempt in (remove_key, key_of):
            with pytest.raises(NotFound) as refusal:
                attempt(accounts, KeyId(key_id), owner=owner)
            told.add((refusal.value.message, refusal.value.param, refusal.value.error_code()))
    assert len(told) == 1


# -- invitations


def test_an_invitation_lets_one_user_in_once() -> None:
    accounts = Accounts.of([ANN, invitation()])
    step = accept_invitation(accounts, digest_of("one"), VIC, NOW)
    assert step.answer == VIC
    then = after(accounts, step)
    assert then.users[VIC.id] == VIC
    assert then.invitations["inv-one"] == invitation(
        status=InvitationStatus.USED, used_by=VIC.id, used_at=NOW
    )
    with pytest.raises(InvalidRequest):
        accept_invitation(then, digest_of("one"), BOB, NOW)


def test_every_code_that_does_not_work_is_refused_in_the_same_words() -> None:
    rows = [
        invitation("used", status=InvitationStatus.USED),
        invitation("revoked", status=InvitationStatus.REVOKED),
        invitation("expired", expires_at=NOW),
        invitation("open"),
    ]
    told = set()
    for code in ("used", "revoked", "expired", "unknown", ""):
        with pytest.raises(InvalidRequest) as refusal:
            accept_invitation(Accounts.of(rows), digest_of(code), VIC, NOW)
        told.add((refusal.value.message, refusal.value.param))
    assert len(told) == 1
    assert told.pop()[1] == "invitation_code"
    assert open_invitation(Accounts.of(rows), digest_of("open"), NOW) == invitation("open")


def test_an_invitation_is_not_used_up_by_a_name_that_is_taken() -> None:
    accounts = Accounts.of([ANN, invitation()])
    with pytest.raises(Conflict):
        accept_invitation(accounts, digest_of("one"), replace(VIC, username="ann"), NOW)
    assert accounts.invitations["inv-one"].status is InvitationStatus.ACTIVE


def test_an_invitation_that_is_revoked_cannot_be_revoked_or_used_again() -> None:
    accounts = Accounts.of([ANN, invitation()])
    revoked = after(accounts, revoke_invitation(accounts, "inv-one"))
    assert revoked.invitations["inv-one"].status is InvitationStatus.REVOKED
    for invitation_id in ("inv-one", "inv-none"):
        with pytest.raises(NotFound, match="no open invitation"):
            revoke_invitation(revoked, invitation_id)


def test_invitations_that_nobody_can_use_make_room_for_new_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(changes, "MOST_INVITATIONS", 3)
    used = invitation("used", status=InvitationStatus.USED)
    room = Accounts.of([ANN, used, invitation("old", expires_at=NOW)])
    full = after(room, add_invitation(room, invitation("open"), NOW))
    assert len(full.invitations) == 3, "as long as there is room, what was is kept"

    two = after(full, add_invitation(full, invitation("new"), NOW))
    assert two.invitations.keys() == {"inv-open", "inv-new"}

    three = after(two, add_invitation(two, invitation("newer"), NOW))
    with pytest.raises(InvalidRequest, match="3 open invitations"):
        add_invitation(three, invitation("newest"), NOW)


# -- in any order

NAMES = st.sampled_from(["ann", "bob", "eve", "vic"])
IDS = st.sampled_from([UserId(f"id-{n}") for n in range(4)])
KEYS = st.sampled_from(["a", "b", "c"])
CODES = st.sampled_from(["1", "2", "3"])
ROLES = st.sampled_from(Role)


class AnyOrder(RuleBasedStateMachine):
    """Whatever is asked for, the rules let no state come about that must not be."""

    def __init__(self) -> None:
        super().__init__()
        self.accounts = Accounts()
        self.now = NOW
        self.numbers = iter(range(10**6))
        self.seen: list[tuple[Accounts, tuple[dict[Any, Any], ...]]] = []
        self.had_admin = False

    def take(self, change: Callable[[Accounts], Step[T]]) -> T | None:
        before, rows = self.accounts, _rows(self.accounts)
        self.seen = [*self.seen[-3:], (before, rows)]
        try:
            step = change(before)
        except LbError:
            return None
        self.accounts = after(before, step)
        return step.answer

    def user(self, user_id: UserId, name: str, role: Role) -> User:
        return User(user_id, name, "hash", role, self.now)

    @rule(user_id=IDS, name=NAMES)
    def first_admin(self, user_id: UserId, name: str) -> None:
        if user_id not in self.accounts.users:
            self.take(lambda a: add_first_admin(a, self.user(user_id, name, Role.ADMIN)))

    @rule(user_id=IDS, name=NAMES, role=ROLES)
    def new_user(self, user_id: UserId, name: str, role: Role) -> None:
        if user_id not in self.accounts.users:
            self.take(lambda a: add_user(a, self.user(user_id, name, role)))

    @rule(
        user_id=IDS,
        name=st.none() | NAMES,
        role=st.none() | ROLES,
        password=st.none() | st.just("other"),
    )
    def edit(
        self, user_id: UserId, name: str | None, role: Role | None, password: str | None
    ) -> None:
        before = self.accounts.users.get(user_id)
        edited = self.take(
            lambda a: edit_user(a, user_id, username=name, role=role, password_hash=password)
        )
        if edited is not None and before is not None:
            assert edited.generation - before.generation == (password is not None)

    @rule(user_id=IDS)
    def remove(self, user_id: UserId) -> None:
        self.take(lambda a: remove_user(a, user_id))

    @rule(user_id=IDS)
    def own_password(self, user_id: UserId) -> None:
        self.take(lambda a: set_own_password(a, user_id, "own"))

    @rule(user_id=IDS, better=st.none() | st.just("better"))
    def logs_in(self, user_id: UserId, better: str | None) -> None:
        if (known := self.accounts.users.get(user_id)) is not None:
            self.take(lambda a: log_in(a, known, now=self.now, better_hash=better))

    @rule(user_id=IDS, hours=st.integers(1, 24))
    def logs_out(self, user_id: UserId, hours: int) -> None:
        ended = RevokedSession(
            f"s-{next(self.numbers)}", user_id, self.now + timedelta(hours=hours)
        )
        self.take(lambda a: end_session(a, ended, self.now))
        if user_id in self.accounts.users:
            assert ended.id in self.accounts.revoked

    @rule(user_id=IDS, name=KEYS)
    def new_key(self, user_id: UserId, name: str) -> None:
        made = replace(key(name), id=KeyId(f"k-{next(self.numbers)}"), owner=user_id)
        self.take(lambda a: add_key(a, made))

    @rule(data=st.data(), name=KEYS, enabled=st.booleans())
    def edit_a_key(self, data: st.DataObject, name: str, enabled: bool) -> None:
        if (one := self._any_key(data)) is not None:
            self.take(lambda a: edit_key(a, replace(one, name=name, enabled=enabled)))

    @rule(data=st.data(), owner=st.none() | IDS)
    def remove_a_key(self, data: st.DataObject, owner: UserId | None) -> None:
        if (one := self._any_key(data)) is not None:
            removed = self.take(lambda a: remove_key(a, one.id, owner=owner))
            assert (removed is None) == (one.id in self.accounts.keys)
            assert (removed is not None) == (owner in (None, one.owner))

    def _any_key(self, data: st.DataObject) -> ApiKey | None:
        known = sorted(self.accounts.keys.values(), key=lambda one: one.id)
        return data.draw(st.sampled_from(known)) if known else None

    @rule(code=CODES, hours=st.integers(1, 100))
    def invite(self, code: str, hours: int) -> None:
        number, ends = next(self.numbers), self.now + timedelta(hours=hours)
        made = Invitation(f"i-{number}", digest_of(code), ANN.id, self.now, ends)
        if all(i.digest != made.digest for i in self.accounts.invitations.values()):
            self.take(lambda a: add_invitation(a, made, self.now))

    @rule(code=CODES, user_id=IDS, name=NAMES)
    def accept(self, code: str, user_id: UserId, name: str) -> None:
        if user_id in self.accounts.users:
            return
        digest = digest_of(code)
        came = self.user(user_id, name, Role.VIEWER)
        if self.take(lambda a: accept_invitation(a, digest, came, self.now)) is not None:
            (used,) = (i for i in self.accounts.invitations.values() if i.digest == digest)
            assert (used.status, used.used_by) == (InvitationStatus.USED, user_id)
            with pytest.raises(InvalidRequest):
                open_invitation(self.accounts, digest, self.now)

    @rule(number=st.integers(0, 20))
    def revoke(self, number: int) -> None:
        self.take(lambda a: revoke_invitation(a, f"i-{number}"))

    @rule(hours=st.integers(1, 30))
    def time_goes_by(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @invariant()
    def once_there_was_an_administrator_there_always_is_one(self) -> None:
        self.had_admin = self.had_admin or self.accounts.has_admin
        assert self.had_admin == self.accounts.has_admin

    @invariant()
    def no_two_users_have_one_name(self) -> None:
        users = self.accounts.users
        assert {u.username: u.id for u in users.values()} == {
            name: u.id for name, u in self.accounts.by_name.items()
        }
        assert len(self.accounts.by_name) == len(users)

    @invariant()
    def nothing_is_without_its_owner_and_no_owner_has_two_keys_of_one_name(self) -> None:
        users, keys = self.accounts.users, self.accounts.keys.values()
        assert all(one.owner in users for one in keys)
        assert all(one.owner in users for one in self.accounts.revoked.values())
        assert len({(one.owner, one.name) for one in keys}) == len(keys)
        assert sum(map(len, self.accounts.by_prefix.values())) == len(keys)

    @invariant()
    def no_view_that_was_published_has_changed(self) -> None:
        for view, rows in self.seen:
            assert _rows(view) == rows


def _rows(view: Accounts) -> tuple[dict[Any, Any], ...]:
    """A copy of all that a view holds."""
    tables = (view.users, view.keys, view.invitations, view.revoked, view.by_name, view.by_prefix)
    return tuple(dict(table) for table in tables)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40)
