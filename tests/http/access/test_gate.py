"""What each kind of caller gets for each kind of need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.accounts import Accounts, KeyId, Permission, Role
from llmlb.errors import InvalidSession, LbError
from llmlb.http.access.caller import NOBODY, Caller
from llmlb.http.access.gate import Gate, Knock, session_of
from llmlb.http.access.needs import (
    ADMIN,
    ALWAYS,
    ANYBODY,
    CHOSEN,
    INFERENCE,
    NEEDS,
    PUBLIC,
    SELF,
    SELF_AT_ONCE,
    Need,
    need_of,
)
from llmlb.http.access.sessions import Sessions
from llmlb.http.downstream import Whence
from llmlb.settings import Settings
from llmlb.store.session_keys import new_session_key
from llmlb.world import World
from tests.fakes.accounts import bearer, key, secret_of, user
from tests.fakes.house import NOW

STRANGER = Whence("203.0.113.1", "203.0.113.7")
LOOPBACK = Whence("127.0.0.1", "127.0.0.1")

INFERENCE_ONLY = frozenset({Permission.INFERENCE})

ANN, VIC = user("ann"), user("vic", Role.VIEWER)
DUE = user("due", Role.ADMIN, must_change_password=True)
AGAIN = user("again", generation=2)

ROWS = (
    ANN,
    VIC,
    DUE,
    AGAIN,
    key("all"),
    key("inference", permissions=INFERENCE_ONLY),
    key("none", permissions=frozenset()),
    key("viewers", owner="vic"),
    key("of-due", owner="due"),
    key("disabled", enabled=False),
    key("expired", expires_at=NOW),
    key("disabled-and-expired", expires_at=NOW, enabled=False),
    key("ends-soon", expires_at=NOW + timedelta(microseconds=1)),
    key("orphan", owner="nobody"),
)

Headers = Mapping[str, str]


class Entrance:
    """A gate, whoever may come in by it, and what it has told of them."""

    def __init__(self, *rows: Any, **settings: Any) -> None:
        self.accounts = Accounts.of(rows)
        self.sessions = Sessions([new_session_key(NOW)], lambda: NOW)
        self.used: list[KeyId] = []
        self.refused: list[tuple[Knock, LbError, Caller]] = []
        self.gate = Gate(
            Settings(**settings),
            lambda: self.accounts,
            self.sessions,
            World(now=lambda: NOW),
            on_used=self.used.append,
            on_refused=lambda *told: self.refused.append(told),
        )

    def knock(
        self, need: Need, headers: Headers, method: str = "GET", whence: Whence = STRANGER
    ) -> Caller:
        return self.gate.admit(need, Knock(method, "/x", headers, whence, "req-1"))

    def word(self, need: Need, headers: Headers, method: str = "GET") -> str:
        """`in`, or the code of the error that says why not."""
        before, word = len(self.refused), "in"
        try:
            self.knock(need, headers, method)
        except LbError as error:
            word = error.error_code()
        told = [refusal.error_code() for _, refusal, _ in self.refused[before:]]
        assert told == ([] if word == "in" else [word]), "each refusal is told once"
        return word

    # -- what callers can show

    def token(self, whose: Any) -> Headers:
        return {"authorization": f"Bearer {self.sessions.begin(whose)[0]}"}

    def cookie(self, whose: Any, *, csrf: bool = True, origin: str | None = "http://lb") -> Headers:
        token, session = self.sessions.begin(whose)
        cookie = f"llmlb_jwt={token}; llmlb_csrf={session.csrf_token}"
        headers = {"host": "lb", "cookie": cookie}
        if csrf:
            headers["x-csrf-token"] = session.csrf_token
        if origin is not None:
            headers["origin"] = origin
        return headers

    def ended(self) -> Headers:
        token, session = self.sessions.begin(ANN)
        self.accounts = self.accounts.with_changes(put=[session.revoked()])
        return {"authorization": f"Bearer {token}"}


CALLERS: dict[str, Callable[[Entrance], Headers]] = {
    "nobody": lambda _: {},
    "garbage": lambda _: {"authorization": "Bearer sk_" + "x" * 32},
    "basic": lambda _: {"authorization": "Basic YW5uOnB3"},
    "key: all": lambda _: bearer("all"),
    "key: all, by its own header": lambda _: {"x-api-key": secret_of("all")},
    "key: inference": lambda _: bearer("inference"),
    "key: none": lambda _: bearer("none"),
    "key: viewer's": lambda _: bearer("viewers"),
    "key: owner's password due": lambda _: bearer("of-due"),
    "key: disabled": lambda _: bearer("disabled"),
    "key: expired": lambda _: bearer("expired"),
    "key: disabled and expired": lambda _: bearer("disabled-and-expired"),
    "key: ends soon": lambda _: bearer("ends-soon"),
    "key: of nobody": lambda _: bearer("orphan"),
    "token: admin": lambda e: e.token(ANN),
    "token: viewer": lambda e: e.token(VIC),
    "token: password due": lambda e: e.token(DUE),
    "token: of somebody gone": lambda e: e.token(user("gone")),
    "token: of an earlier generation": lambda e: e.token(replace(AGAIN, generation=1)),
    "token: ended": lambda e: e.ended(),
    "token: of a device": lambda e: {"authorization": f"Bearer {e.sessions.device(ANN)}"},
    "token: of another balancer": lambda _: Entrance().token(ANN),
    "token as a key": lambda e: {"x-api-key": e.token(ANN)["authorization"][7:]},
    "cookie: admin": lambda e: e.cookie(ANN),
    "cookie: viewer": lambda e: e.cookie(VIC),
    "cookie: another site": lambda e: e.cookie(ANN, origin="http://evil.org"),
    "cookie: garbage": lambda _: {"cookie": "llmlb_jwt=x.y.z"},
    "cookie: twice": lambda _: {"cookie": "llmlb_jwt=x; llmlb_jwt=y"},
    "cookie: no UTF-8": lambda _: {"cookie": "llmlb_jwt=\x80\xff"},
    "cookie: empty": lambda _: {"cookie": "llmlb_jwt="},
    "key and another site's cookie": lambda e: {
        **e.cookie(ANN, origin="http://evil.org"),
        **bearer("all"),
    },
}

ADMIN_OR = Need(key=Permission.ENDPOINTS_MANAGE, role=Role.ADMIN)
ANYBODY_OR = Need(key=Permission.ENDPOINTS_READ, role=Role.VIEWER)
MODELS = Need(key=Permission.MODELS_READ)

NO, LACKS, OUT = "invalid_api_key", "insufficient_permissions", "invalid_session"
MISSING, DUE_FIRST, FORGED = "missing_api_key", "password_change_required", "csrf_failed"

NEEDED = (INFERENCE, MODELS, ANYBODY, ADMIN, ANYBODY_OR, ADMIN_OR, SELF_AT_ONCE)
"""Those of which the table below tells, in its columns' order."""

TABLE: dict[str, tuple[str, ...]] = {
    #                        inference, models, anybody, admin, any or key, admin or key, at once
    "nobody": (MISSING,) * 7,
    "garbage": (NO,) * 7,
    "basic": (NO,) * 7,
    "key: all": ("in", "in", LACKS, LACKS, "in", "in", LACKS),
    "key: all, by its own header": ("in", "in", LACKS, LACKS, "in", "in", LACKS),
    "key: inference": ("in", LACKS, LACKS, LACKS, LACKS, LACKS, LACKS),
    "key: none": (LACKS,) * 7,
    "key: viewer's": ("in", "in", LACKS, LACKS, LACKS, LACKS, LACKS),
    "key: owner's password due": ("in", "in", LACKS, LACKS, "in", "in", LACKS),
    "key: disabled": (NO,) * 7,
    "key: expired": ("expired_api_key",) * 7,
    "key: disabled and expired": (NO,) * 7,
    "key: ends soon": ("in", "in", LACKS, LACKS, "in", "in", LACKS),
    "key: of nobody": (NO,) * 7,
    "token: admin": (NO, NO, "in", "in", "in", "in", "in"),
    "token: viewer": (NO, NO, "in", LACKS, "in", LACKS, "in"),
    "token: password due": (NO, NO, DUE_FIRST, DUE_FIRST, DUE_FIRST, DUE_FIRST, "in"),
    "token: of somebody gone": (NO, NO, OUT, OUT, OUT, OUT, OUT),
    "token: of an earlier generation": (NO, NO, OUT, OUT, OUT, OUT, OUT),
    "token: ended": (NO, NO, OUT, OUT, OUT, OUT, OUT),
    "token: of a device": (NO, NO, OUT, OUT, OUT, OUT, OUT),
    "token: of another balancer": (NO, NO, OUT, OUT, OUT, OUT, OUT),
    "token as a key": (NO,) * 7,
    "cookie: admin": (MISSING, MISSING, "in", "in", "in", "in", "in"),
    "cookie: viewer": (MISSING, MISSING, "in", LACKS, "in", LACKS, "in"),
    "cookie: another site": (MISSING, MISSING, FORGED, FORGED, FORGED, FORGED, FORGED),
    "cookie: garbage": (MISSING, MISSING, OUT, OUT, OUT, OUT, OUT),
    "cookie: twice": (OUT,) * 7,
    "cookie: no UTF-8": (MISSING, MISSING, OUT, OUT, OUT, OUT, OUT),
    "cookie: empty": (MISSING,) * 7,
    "key and another site's cookie": ("in", "in", LACKS, LACKS, "in", "in", LACKS),
}


@pytest.fixture
def entrance() -> Entrance:
    return Entrance(*ROWS)


@pytest.mark.parametrize("caller", CALLERS)
def test_who_gets_what(entrance: Entrance, caller: str) -> None:
    shows = CALLERS[caller](entrance)
    for method in ("GET", "POST"):
        told = tuple(entrance.word(need, shows, method) for need in NEEDED)
        assert told == TABLE[caller], method
        assert entrance.word(CHOSEN, shows, method) == told[NEEDED.index(ANYBODY)]
        for open_to_all in (PUBLIC, ALWAYS):
            assert entrance.word(open_to_all, shows, method) == "in"


@pytest.mark.parametrize(
    ("csrf", "origin"), [(False, "http://lb"), (True, None), (False, None), (True, "null")]
)
def test_a_cookie_alone_changes_nothing(entrance: Entrance, csrf: bool, origin: str | None) -> None:
    shows = entrance.cookie(ANN, csrf=csrf, origin=origin)
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert entrance.word(ADMIN, shows, method) == FORGED
    assert entrance.word(ADMIN, shows, "GET") == (FORGED if origin == "null" else "in")


@given(
    st.dictionaries(
        st.sampled_from(["authorization", "x-api-key", "cookie", "host", "origin"]),
        st.binary().map(lambda raw: raw.decode("latin-1"))
        | st.text(st.characters(max_codepoint=255)).map("Bearer {}".format)
        | st.text(st.characters(max_codepoint=255)).map("llmlb_jwt={}".format),
    )
)
def test_nobody_comes_in_by_chance(headers: dict[str, str]) -> None:
    entrance = Entrance(*ROWS)
    for need in NEEDED:
        assert entrance.word(need, headers) != "in"


# -- what is known of who came in, and of who did not


def test_a_caller_is_who_has_proved_it(entrance: Entrance) -> None:
    by_key = entrance.knock(INFERENCE, bearer("all"))
    assert by_key == Caller("203.0.113.7", ANN, key("all"))
    by_token = entrance.knock(ADMIN, entrance.token(ANN))
    assert (by_token.user, by_token.key) == (ANN, None)
    assert session_of(by_token) == (ANN, by_token.session)
    by_cookie = entrance.knock(ADMIN, entrance.cookie(ANN))
    assert session_of(by_cookie)[0] == ANN
    assert entrance.knock(PUBLIC, entrance.token(ANN)) == Caller("203.0.113.7")


def test_who_has_no_session_is_told_to_log_in() -> None:
    for caller in (NOBODY, Caller(None, ANN, key("all")), Caller(None, local=True)):
        with pytest.raises(InvalidSession, match="Log in first"):
            session_of(caller)


def test_a_key_is_used_when_it_opens_something_or_would_have(entrance: Entrance) -> None:
    for name in ("all", "none", "disabled", "expired", "orphan", "unknown"):
        entrance.word(INFERENCE, bearer(name))
    assert entrance.used == ["key-all", "key-none"]


def test_of_who_was_not_let_in_it_is_told_what_is_known(entrance: Entrance) -> None:
    entrance.word(ADMIN, entrance.token(VIC))
    entrance.word(ADMIN, {})
    (knock, denied, viewer), (_, missing, nobody) = entrance.refused
    assert (knock.method, knock.path, knock.request_id) == ("GET", "/x", "req-1")
    assert (denied.error_code(), viewer.user) == (LACKS, VIC)
    assert (missing.error_code(), nobody) == (MISSING, Caller("203.0.113.7"))


@pytest.mark.parametrize(
    ("need", "says"),
    [(INFERENCE, "has no API key"), (ADMIN, "POST /api/auth/login"), (ADMIN_OR, "or send an API")],
)
def test_who_shows_nothing_is_told_what_to_show(entrance: Entrance, need: Need, says: str) -> None:
    with pytest.raises(LbError, match=says):
        entrance.knock(need, {})


def test_no_refusal_repeats_what_was_shown(entrance: Entrance) -> None:
    for shows in (caller(entrance) for caller in CALLERS.values()):
        for need in NEEDED:
            entrance.word(need, shows)
    assert entrance.refused
    for _, refusal, caller in entrance.refused:
        for secret in (secret_of("none"), secret_of("viewers"), "eyJ", ANN.password_hash):
            assert secret not in f"{refusal.message} {caller!r}"


def test_the_address_is_a_proxys_word_only_if_the_proxy_is_trusted() -> None:
    said = {"x-forwarded-for": "198.51.100.9", **bearer("all")}
    assert Entrance(*ROWS).knock(INFERENCE, said).address == "203.0.113.7"
    trusting = Entrance(*ROWS, trusted_proxies="203.0.113.0/24")
    assert trusting.knock(INFERENCE, said).address == "198.51.100.9"


# -- before there is an administrator, and without authentication


@pytest.mark.parametrize("settings", [{}, {"auth": "off"}], ids=["no users yet", "auth off"])
def test_this_machine_alone_is_served(settings: dict[str, Any]) -> None:
    entrance = Entrance(*(ROWS if settings else ()), **settings)
    assert entrance.gate.open_to_local
    for need in (INFERENCE, ADMIN, ANYBODY_OR, PUBLIC):
        assert entrance.knock(need, {}, "POST", LOOPBACK) == Caller("127.0.0.1", local=True)
        for whence in (STRANGER, Whence("127.0.0.1", "10.0.0.1"), Whence("10.0.0.1", "127.0.0.1")):
            with pytest.raises(LbError) as refusal:
                entrance.knock(need, bearer("all"), "GET", whence)
            assert refusal.value.error_code() == "setup_required"
    assert entrance.knock(ALWAYS, {}, "GET", STRANGER) == Caller("203.0.113.7")


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-for": "127.0.0.1"},
        {"forwarded": "for=127.0.0.1"},
        {"origin": "http://evil.org"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
    ],
)
@pytest.mark.parametrize("settings", [{}, {"auth": "off"}], ids=["no users yet", "auth off"])
def test_what_comes_through_this_machine_is_not_of_it(
    settings: dict[str, Any], headers: Headers
) -> None:
    entrance = Entrance(**settings)
    with pytest.raises(LbError) as refusal:
        entrance.knock(ADMIN, headers, "POST", LOOPBACK)
    assert refusal.value.error_code() == "setup_required"


@pytest.mark.parametrize(
    ("settings", "says"), [({}, "open the link"), ({"auth": "off"}, "LLMLB_AUTH=off")]
)
def test_what_is_about_a_person_needs_one(settings: dict[str, Any], says: str) -> None:
    entrance = Entrance(**settings)
    for need in (SELF, SELF_AT_ONCE, Need(role=Role.ADMIN, person=True)):
        with pytest.raises(LbError, match=says) as refusal:
            entrance.knock(need, {}, "GET", LOOPBACK)
        assert refusal.value.error_code() == "setup_required"


def test_once_there_is_an_administrator_this_machine_is_as_any_other() -> None:
    entrance = Entrance()
    for rows, setting_up in (((), True), ((VIC,), True), (ROWS, False)):
        entrance.accounts = Accounts.of(rows)
        assert entrance.gate.setting_up == entrance.gate.open_to_local == setting_up
    with pytest.raises(LbError) as refusal:
        entrance.knock(ADMIN, {}, "GET", LOOPBACK)
    assert refusal.value.error_code() == MISSING


def test_without_authentication_nothing_is_set_up() -> None:
    assert not Entrance(auth="off").gate.setting_up


# -- the table of routes


def test_inference_takes_keys_alone() -> None:
    for route, need in NEEDS.items():
        if " /v1/" in route:
            assert need.role is None
            assert need.key in (Permission.INFERENCE, Permission.MODELS_READ)


def test_what_changes_something_is_never_open_to_all() -> None:
    open_to_all = {r for r, n in NEEDS.items() if n.public and not r.startswith("GET ")}
    assert open_to_all == {
        f"POST {prefix}/auth/{what}" for prefix in ("/api", "/v0") for what in ("login", "register")
    } | {"POST /setup"}


def test_a_need_is_that_of_the_method() -> None:
    assert need_of("HEAD", "/v1/models") == need_of("GET", "/v1/models") == MODELS
    with pytest.raises(KeyError):
        need_of("DELETE", "/v1/models")
