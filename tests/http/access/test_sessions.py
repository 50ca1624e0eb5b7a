"""Which tokens are sessions, and which are not, whatever they look like."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.accounts import Accounts, Role, UserId
from llmlb.errors import InvalidSession
from llmlb.http.access.sessions import DEVICE_LIFETIME, LIFETIME, Sessions, user_in
from llmlb.store.session_keys import SessionKey, new_session_key
from tests.fakes.accounts import user

NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
SECOND = timedelta(seconds=1)
KEY = new_session_key(NOW)


class Clock:
    """A wall clock that goes wherever a test sets it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions([KEY], clock)


def claims(**changes: Any) -> dict[str, Any]:
    """What a session's token says, with changes; None takes a claim away."""
    now_s = int(NOW.timestamp())
    said = {
        "iss": "llmlb",
        "aud": "llmlb:session",
        "sub": "user-ann",
        "iat": now_s,
        "exp": now_s + 60,
        "jti": "x",
        "gen": 0,
        **changes,
    }
    return {name: value for name, value in said.items() if value is not None}


def signed(key: SessionKey = KEY, /, **changes: Any) -> str:
    return jwt.encode(claims(**changes), key.secret, "HS256", headers={"kid": key.id})


def part(of: object) -> str:
    raw = of if isinstance(of, bytes) else json.dumps(of).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def by_hand(digest: str = "sha256", /, **head: object) -> str:
    """What a library would not sign, but with the right secret."""
    text = f"{part(head)}.{part(claims())}"
    return f"{text}.{part(hmac.digest(KEY.secret, text.encode(), digest))}"


def test_a_token_says_who_has_logged_in_and_until_when(sessions: Sessions) -> None:
    token, session = sessions.begin(user("ann", generation=3))
    assert sessions.read(token) == session
    assert (session.user_id, session.generation) == ("user-ann", 3)
    assert session.expires_at == NOW.replace(microsecond=0) + LIFETIME
    assert session.revoked().expires_at == session.expires_at
    assert session.csrf_token not in repr(session)


def test_scripts_can_read_in_it_what_the_login_said(sessions: Sessions) -> None:
    token, _ = sessions.begin(user("vic", Role.VIEWER, must_change_password=True))
    said = jwt.decode(token, options={"verify_signature": False})
    assert (said["sub"], said["role"], said["must_change_password"]) == ("user-vic", "viewer", True)
    assert said["exp"] - said["iat"] == 24 * 3600


def test_no_two_sessions_have_the_same_id_or_the_same_csrf_token(sessions: Sessions) -> None:
    begun = [sessions.begin(user())[1] for _ in range(100)]
    assert len({one.id for one in begun}) == len({one.csrf_token for one in begun}) == 100
    assert all(len(one.csrf_token) == 32 for one in begun)


def test_a_session_ends_after_24_hours_to_the_second(sessions: Sessions, clock: Clock) -> None:
    token, session = sessions.begin(user())
    clock.now = session.expires_at - SECOND
    assert sessions.read(token) == session
    clock.now = session.expires_at
    with pytest.raises(InvalidSession, match="run out"):
        sessions.read(token)


def test_a_wall_clock_that_jumps_back_locks_nobody_out(sessions: Sessions, clock: Clock) -> None:
    token, session = sessions.begin(user())
    for back in (SECOND, timedelta(days=400)):
        clock.now = NOW - back
        assert sessions.read(token) == session


# -- tokens that are none


@pytest.mark.parametrize(
    "make",
    [
        lambda: "",
        lambda: "x",
        lambda: "a.b.c",
        lambda: "..",
        lambda: signed() + "x",
        lambda: signed()[:-1],
        lambda: " " + signed(),
        lambda: signed().upper(),
        lambda: f"{signed()}.{part({})}",
        lambda: jwt.encode(claims(), "", "none", headers={"kid": KEY.id}),
        lambda: f"{part({'alg': 'none', 'kid': KEY.id})}.{part(claims())}.",
        lambda: f"{part({'alg': 'NoNe', 'kid': KEY.id})}.{part(claims())}.",
        lambda: f"{part({'alg': 'HS256', 'kid': KEY.id})}.{part(claims())}.",
        lambda: by_hand("sha384", alg="HS384", kid=KEY.id),
        lambda: by_hand("sha512", alg="HS512", kid=KEY.id),
        lambda: by_hand(alg="RS256", kid=KEY.id),
        lambda: by_hand(alg="none", kid=KEY.id),
        lambda: by_hand(kid=KEY.id),
        lambda: by_hand(alg="HS256", kid=KEY.id, crit=["b64"], b64=False),
        lambda: by_hand(alg="HS256"),
        lambda: by_hand(alg="HS256", kid=None),
        lambda: by_hand(alg="HS256", kid=""),
        lambda: by_hand(alg="HS256", kid=[KEY.id]),
        lambda: by_hand(alg="HS256", kid={"id": KEY.id}),
        lambda: signed(new_session_key(NOW)),
        lambda: signed(replace(new_session_key(NOW), id=KEY.id)),
        lambda: signed(replace(KEY, id="another")),
        lambda: f"{part(b'{')}.{part(claims())}.{part(b'x')}",
        lambda: f"{part([])}.{part(claims())}.{part(b'x')}",
        lambda: signed(aud="llmlb:device"),
        lambda: signed(aud="llmlb"),
        lambda: signed(aud=None),
        lambda: signed(iss="other"),
        lambda: signed(iss=None),
        lambda: signed(sub=None),
        lambda: signed(jti=None),
        lambda: signed(exp=None),
        lambda: signed(iat=None),
        lambda: "é" * 200,
    ],
)
def test_what_we_have_not_signed_is_no_session(sessions: Sessions, make: Callable[[], str]) -> None:
    assert sessions.read(signed()).user_id == "user-ann"
    assert sessions.read(by_hand(alg="HS256", kid=KEY.id)).user_id == "user-ann"
    with pytest.raises(InvalidSession, match="log in again"):
        sessions.read(make())


def test_no_part_of_a_token_can_be_changed(sessions: Sessions) -> None:
    token, _ = sessions.begin(user("vic", Role.VIEWER))
    head, _, mac = token.split(".")
    said = jwt.decode(token, options={"verify_signature": False})
    for change in ({"sub": "user-ann"}, {"role": "admin"}, {"exp": 2**33}, {"gen": 1}):
        with pytest.raises(InvalidSession):
            sessions.read(f"{head}.{part({**said, **change})}.{mac}")


@given(st.data())
def test_a_token_with_any_character_changed_is_none(data: st.DataObject) -> None:
    sessions = Sessions([KEY], lambda: NOW)
    token, session = sessions.begin(user())
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda c: c != token[at]))
    try:
        read = sessions.read(token[:at] + other + token[at + 1 :])
    except InvalidSession:
        return
    # the last character of a part holds bits that mean nothing
    assert read == session


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_whatever_is_sent_is_refused_in_our_words(text: str) -> None:
    with pytest.raises(InvalidSession):
        Sessions([KEY], lambda: NOW).read(text)


# -- secrets that change


def test_the_newest_secret_signs_and_those_before_it_still_count(clock: Clock) -> None:
    old, newest = KEY, new_session_key(NOW)
    before, _ = Sessions([old], clock).begin(user())
    sessions = Sessions([newest, old], clock)
    after, _ = sessions.begin(user())
    assert jwt.get_unverified_header(after)["kid"] == newest.id
    for token in (before, after):
        assert sessions.read(token).user_id == "user-ann"
    sessions.keys = (newest,)
    assert sessions.read(after).user_id == "user-ann"
    with pytest.raises(InvalidSession):
        sessions.read(before)


def test_a_csrf_token_stays_the_same_as_long_as_its_session(clock: Clock) -> None:
    sessions = Sessions([KEY], clock)
    token, session = sessions.begin(user())
    sessions.keys = (new_session_key(NOW), KEY)
    assert sessions.read(token).csrf_token == session.csrf_token


# -- devices


def test_a_device_is_known_to_its_own_user_and_no_session(sessions: Sessions) -> None:
    token = sessions.device(user("ann"))
    first = sessions.is_device_of(token, UserId("user-ann"))
    assert first
    assert sessions.is_device_of(token, UserId("user-bob")) is None
    assert sessions.is_device_of(sessions.device(user("ann")), UserId("user-ann")) != first
    with pytest.raises(InvalidSession):
        sessions.read(token)


def test_a_session_is_no_device(sessions: Sessions) -> None:
    token, _ = sessions.begin(user("ann"))
    for other in (token, None, "", "x", "a.b.c"):
        assert sessions.is_device_of(other, UserId("user-ann")) is None


def test_a_device_is_forgotten_after_30_days(sessions: Sessions, clock: Clock) -> None:
    token = sessions.device(user("ann"))
    clock.now = NOW + DEVICE_LIFETIME - SECOND
    assert sessions.is_device_of(token, UserId("user-ann"))
    clock.now = NOW + DEVICE_LIFETIME
    assert sessions.is_device_of(token, UserId("user-ann")) is None


# -- sessions that were ended


def test_a_session_counts_for_the_user_as_he_is_now(sessions: Sessions) -> None:
    _, session = sessions.begin(user("ann"))
    now_viewer = user("ann", Role.VIEWER)
    assert user_in(Accounts.of([now_viewer]), session) == now_viewer


def test_a_session_that_was_ended_counts_no_more(sessions: Sessions) -> None:
    _, session = sessions.begin(user("ann", generation=1))
    for accounts in (
        Accounts(),
        Accounts.of([user("ann", generation=2)]),
        Accounts.of([user("ann", generation=0)]),
        Accounts.of([user("ann", generation=1), session.revoked()]),
    ):
        with pytest.raises(InvalidSession, match="has been ended"):
            user_in(accounts, session)
    _, other = sessions.begin(user("ann", generation=1))
    still_there = Accounts.of([user("ann", generation=1), other.revoked()])
    assert user_in(still_there, session).username == "ann"
