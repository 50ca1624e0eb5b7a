"""Sessions: forged, stolen, overstayed, taken over, and used from pages of other sites."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import jwt
import pytest
import trio

from llmlb.accounts import Role, Row
from llmlb.accounts.credentials import digest_of
from llmlb.errors import StoreUnavailable
from llmlb.http.access.credentials import CSRF_COOKIE, DEVICE_COOKIE, SESSION_COOKIE
from llmlb.store.session_keys import ROTATED_AFTER, new_session_key
from tests.fakes.accounts import PASSWORD, user
from tests.fakes.asgi import Request
from tests.security.test_matrix import TABLE
from tests.security.town import (
    HOME,
    HOST,
    STRANGER,
    Town,
    as_browser,
    cookies_of,
    settle_in,
    town_in,
    value_in,
)

pytestmark = pytest.mark.adversary

Claims = dict[str, Any]


async def who(town: Town, token: str) -> Request:
    """What *token* is worth, in a header."""
    return await town("GET", "/api/auth/me", headers={"authorization": f"Bearer {token}"})


async def assert_worthless(town: Town, token: str) -> None:
    """Neither as a header nor as a cookie, and not instead of a key."""
    for headers in (
        {"authorization": f"Bearer {token}"},
        {"cookie": f"{SESSION_COOKIE}={token}"},
        {"x-api-key": token},
    ):
        for path in ("/api/auth/me", "/api/users"):
            reply = await town("GET", path, headers=headers)
            assert reply.status == 401, (headers, reply.body)
    reply = await town("GET", "/v1/models", headers={"authorization": f"Bearer {token}"})
    assert reply.status == 401


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(secret: bytes, header: Claims, claims: Claims, hashed: Any = hashlib.sha256) -> str:
    """A token made by hand: no library refuses to make what an attacker would."""
    text = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{text}.{b64(hmac.new(secret, text.encode(), hashed).digest())}"


def parts_of(token: str) -> tuple[Claims, Claims]:
    claims: Claims = jwt.decode(token, options={"verify_signature": False})
    return jwt.get_unverified_header(token), claims


async def test_a_token_made_by_hand_with_the_right_secret_is_one(town: Town) -> None:
    header, claims = parts_of(town.session("ann")[0])

    reply = await who(town, signed(town.sessions.keys[0].secret, header, claims))

    assert reply.json["username"] == "ann"  # so that what follows fails for its own reason


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", "HS256"])
@pytest.mark.parametrize("signature", ["", "e30", "AA"])
async def test_a_token_without_a_signature_is_none(town: Town, name: str, signature: str) -> None:
    header, claims = parts_of(town.session("ann")[0])
    text = signed(b"", {**header, "alg": name}, claims)

    await assert_worthless(town, f"{text.rpartition('.')[0]}.{signature}")


@pytest.mark.parametrize(
    ("name", "hashed"),
    [
        ("HS384", hashlib.sha384),
        ("HS512", hashlib.sha512),
        ("RS256", hashlib.sha256),
        ("ES256", hashlib.sha256),
        ("PS256", hashlib.sha256),
        ("EdDSA", hashlib.sha256),
        ("hs256", hashlib.sha256),
    ],
)
async def test_the_token_does_not_choose_how_it_is_checked(
    town: Town, name: str, hashed: Any
) -> None:
    header, claims = parts_of(town.session("ann")[0])
    key = town.sessions.keys[0]

    await assert_worthless(town, signed(key.secret, {**header, "alg": name}, claims, hashed))


@pytest.mark.parametrize(
    "more",
    [
        {"kid": "../../../../dev/null"},
        {"kid": "' OR '1'='1"},
        {"kid": ""},
        {"kid": None},
        {"kid": 0},
        {"kid": ["x"]},
        {"jwk": {"kty": "oct", "k": ""}},
        {"jku": "http://evil.example/keys"},
        {"x5u": "http://evil.example/cert"},
        {"b64": False, "crit": ["b64"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("secret", [b"", b"\x00" * 32, b"secret"])
async def test_the_token_does_not_choose_the_secret(
    town: Town, more: Claims, secret: bytes
) -> None:
    header, claims = parts_of(town.session("ann")[0])

    await assert_worthless(town, signed(secret, {**header, **more}, claims))

    assert {call.endpoint.name for call in town.served.upstream.calls} <= {"a"}


async def test_no_byte_of_a_token_can_be_changed(town: Town) -> None:
    token, _ = town.session("vic")
    last = len(token) - 1  # whose lowest bits stand for nothing
    for place in range(last):
        changed = "A" if token[place] != "A" else "B"
        reply = await who(town, token[:place] + changed + token[place + 1 :])
        assert reply.status == 401, place
    for longer in (token[:-3], token + "A", token + ".A", "." + token, token.replace(".", "..", 1)):
        assert (await who(town, longer)).status == 401, longer


@pytest.mark.parametrize(
    "change",
    [
        {"sub": "user-ann"},
        {"role": "admin"},
        {"gen": -1},
        {"exp": 9_999_999_999},
        {"exp": None},
        {"jti": "another"},
        {"must_change_password": False},
    ],
    ids=str,
)
async def test_claims_that_were_not_signed_are_not_believed(town: Town, change: Claims) -> None:
    token, _ = town.session("vic")
    head, _, signature = token.split(".")
    claims = {**parts_of(token)[1], **change}

    if claims != parts_of(token)[1]:
        await assert_worthless(town, f"{head}.{b64(json.dumps(claims).encode())}.{signature}")


@pytest.mark.parametrize("gone", ["sub", "jti", "exp", "iat", "aud", "iss"])
async def test_a_token_has_to_have_every_claim(town: Town, gone: str) -> None:
    header, claims = parts_of(town.session("ann")[0])
    del claims[gone]

    await assert_worthless(town, signed(town.sessions.keys[0].secret, header, claims))


@pytest.mark.parametrize("change", [{"aud": "another"}, {"iss": "another"}, {"sub": "user-none"}])
async def test_a_token_for_somebody_else_is_none(town: Town, change: Claims) -> None:
    header, claims = parts_of(town.session("ann")[0])

    token = signed(town.sessions.keys[0].secret, header, {**claims, **change})

    await assert_worthless(town, token)


async def test_the_role_in_a_token_is_only_told(town: Town) -> None:
    header, claims = parts_of(town.session("vic")[0])
    token = signed(town.sessions.keys[0].secret, header, {**claims, "role": "admin"})

    reply = await town("GET", "/api/users", headers={"authorization": f"Bearer {token}"})

    assert (reply.status, reply.error["code"]) == (403, "insufficient_permissions")


async def test_a_token_of_another_balancer_is_none(town: Town) -> None:
    header, claims = parts_of(town.session("ann")[0])
    other = new_session_key(town.clock.now)

    await assert_worthless(town, signed(other.secret, header, claims))
    await assert_worthless(town, signed(other.secret, {**header, "kid": other.id}, claims))


async def test_a_token_lasts_for_24_hours_and_no_longer(town: Town) -> None:
    token, _ = town.session("ann")
    town.clock.pass_by(hours=23, minutes=59, seconds=59)
    assert (await who(town, token)).status == 200
    town.clock.pass_by(seconds=1)

    await assert_worthless(town, token)


async def test_what_says_that_a_device_is_known_opens_nothing(town: Town) -> None:
    await assert_worthless(town, town.sessions.device(town.user("ann")))


async def test_a_token_in_the_path_or_the_body_is_not_looked_at(town: Town) -> None:
    token, _ = town.session("ann")
    for name in ("token", "access_token", "jwt", SESSION_COOKIE, "api_key", "key"):
        said = f"{name}={token}".encode()
        assert (await town("GET", "/api/auth/me", query_string=said)).status == 401
        headers = {"content-type": "application/x-www-form-urlencoded"}
        assert (await town("POST", "/api/users", said, headers=headers)).status == 401
        body = json.dumps({name: token}).encode()
        assert (await town("POST", "/api/users", body)).status == 401


@pytest.mark.parametrize(
    "token",
    [
        "é.é.é",
        "....",
        "a.b.c",
        f"{b64(b'[' * 20_000)}.a.b",
        f"{b64(b'{' * 100)}.a.b",
        b64(b'{"alg":"HS256","kid":' + b"9" * 9000 + b"}") + ".a.b",
        b64(b'{"alg":"HS256","kid":"x","kid":1}') + ".a.b",
        b64(b'{"alg":"HS256","kid":"\\ud800"}') + ".a.b",
        b64(b'"HS256"') + ".a.b",
        "\x80\xff.\x80.\xff",
    ],
    ids=range(10),
)
async def test_what_only_looks_like_a_token_is_refused_and_no_more(town: Town, token: str) -> None:
    for headers in (
        {"authorization": f"Bearer {token}"},
        {"cookie": f"{SESSION_COOKIE}={token}"},
        {"x-api-key": token},
    ):
        for path in ("/api/auth/me", "/v1/models"):
            assert (await town("GET", path, headers=headers)).status == 401
        assert (await town("POST", "/v1/chat/completions", b"{}", headers=headers)).status == 401


# -- logging in


async def test_a_session_that_was_there_before_is_never_taken_over(town: Town) -> None:
    chosen, planted = town.session("vic")
    sent = {"cookie": f"{SESSION_COOKIE}={chosen}; {CSRF_COOKIE}={'A' * 32}"}

    cookies = cookies_of(await town.log_in("ann", headers=sent))

    token = value_in(cookies[SESSION_COOKIE])
    assert parts_of(token)[1]["jti"] != planted.id
    assert (await who(town, token)).json["username"] == "ann"
    assert (await who(town, chosen)).json["username"] == "vic"
    assert value_in(cookies[CSRF_COOKIE]) not in ("A" * 32, planted.csrf_token)


async def test_each_login_has_an_id_and_a_token_of_its_own(town: Town) -> None:
    seen: set[str] = set()
    for _ in range(5):
        reply = await town.log_in("ann")
        cookies = cookies_of(reply)
        token = value_in(cookies[SESSION_COOKIE])
        assert reply.json["token"] == token
        seen |= {parts_of(token)[1]["jti"], token, value_in(cookies[CSRF_COOKIE])}
        assert value_in(cookies[CSRF_COOKIE]) not in token
    assert len(seen) == 15


@pytest.mark.parametrize(
    ("settings", "scope", "headers", "secure"),
    [
        ({}, {}, {}, False),
        ({}, {"scheme": "https"}, {}, True),
        ({}, {}, {"x-forwarded-proto": "https"}, False),
        ({}, {}, {"forwarded": "proto=https"}, False),
        ({}, {"scheme": "https"}, {"x-forwarded-proto": "http"}, True),
        ({"trusted_proxies": "203.0.113.0/24"}, {}, {"x-forwarded-proto": "https"}, True),
        ({"trusted_proxies": "203.0.113.0/24"}, {}, {"x-forwarded-proto": "https, http"}, False),
        ({"trusted_proxies": "203.0.113.0/24"}, {}, {}, False),
        ({"trusted_proxies": "10.0.0.0/8"}, {}, {"x-forwarded-proto": "https"}, False),
    ],
    ids=str,
)
async def test_cookies_are_as_narrow_as_they_can_be(
    town: Town, scope: dict[str, Any], headers: dict[str, str], secure: bool
) -> None:
    scope = {**STRANGER, **scope}
    reply = await town.log_in("ann", headers=headers, **scope)
    bearer = {"authorization": f"Bearer {reply.json['token']}", **headers}
    gone = await town("POST", "/api/auth/logout", headers=bearer, **scope)

    for cookies in (cookies_of(reply), cookies_of(gone)):
        for name, line in cookies.items():
            attributes = {part.strip() for part in line.split(";")[1:]}
            assert "Path=/" in attributes
            assert "SameSite=Lax" in attributes
            assert ("Secure" in attributes) is secure
            assert ("HttpOnly" in attributes) is (name != CSRF_COOKIE)
            assert not any(a.startswith("Domain") for a in attributes)
    assert cookies_of(reply).keys() == {SESSION_COOKIE, CSRF_COOKIE, DEVICE_COOKIE}
    ages = {line for line in cookies_of(gone).values() if "Max-Age=0" in line}
    assert len(ages) == 2


# -- the end of a session


async def test_a_logout_counts_at_once_and_after_a_restart(tmp_path: Path) -> None:
    async with town_in(tmp_path, database_url=None) as town:
        await settle_in(town)
        (ended, session), (kept, _) = town.session("ann"), town.session("ann")
        page = as_browser(ended, session, csrf=True)
        assert (await who(town, ended)).status == 200

        reply = await town("POST", "/api/auth/logout", headers=page)

        assert reply.status == 204
        await assert_worthless(town, ended)
        assert (await who(town, kept)).status == 200
        assert (await town("POST", "/api/auth/logout", headers=page)).status == 401
    async with town_in(tmp_path, database_url=None) as town:
        await assert_worthless(town, ended)
        assert (await who(town, kept)).status == 200


async def test_the_secrets_of_sessions_last_as_long_as_sessions_do(tmp_path: Path) -> None:
    async with town_in(tmp_path, database_url=None) as town:
        await settle_in(town)
        town.clock.pass_by(days=ROTATED_AFTER.days)
        before, _ = town.session("ann")
        after = (await town.log_in("ann")).json["token"]

        assert parts_of(before)[0]["kid"] != parts_of(after)[0]["kid"]
        for token in (before, after):
            assert (await who(town, token)).status == 200
        town.clock.pass_by(hours=23)
        assert (await who(town, before)).status == 200
        town.clock.pass_by(hours=2)
        await town.log_in("ann")
        await assert_worthless(town, before)


@pytest.mark.parametrize("role", list(Role))
async def test_a_new_password_ends_every_session(town: Town, role: Role) -> None:
    await town.move_in(user("sam", role))
    tokens = [town.session("sam")[0] for _ in range(3)]

    reply = await town(
        "PUT",
        "/api/auth/change-password",
        b'{"new_password": "another long one"}',
        headers={"authorization": f"Bearer {tokens[0]}"},
    )

    assert reply.status == 200
    for token in tokens:
        await assert_worthless(town, token)
    assert (await town.log_in("sam")).status == 401
    assert (await town.log_in("sam", "another long one")).status == 200


async def test_a_password_that_an_administrator_sets_ends_every_session(town: Town) -> None:
    token, _ = town.session("vic")

    body = b'{"password": "another long one"}'
    reply = await town("PUT", "/api/users/user-vic", body, headers=town.by_token("ann"))

    assert reply.status == 200
    await assert_worthless(town, token)
    fresh = (await town.log_in("vic", "another long one")).json["token"]
    reply = await town("GET", "/api/endpoints", headers={"authorization": f"Bearer {fresh}"})
    assert (reply.status, reply.error["code"]) == (403, "password_change_required")


async def test_with_the_user_go_the_sessions(town: Town) -> None:
    token, _ = town.session("vic")

    reply = await town("DELETE", "/api/users/user-vic", headers=town.by_token("ann"))

    assert reply.status == 204
    await assert_worthless(town, token)
    await town.move_in(user("vic", Role.ADMIN, generation=1))  # the same id, used again
    await assert_worthless(town, token)


async def test_a_new_role_counts_at_once(town: Town) -> None:
    vic = town.by_token("vic")
    for role, status in (("admin", 200), ("viewer", 403), ("admin", 200)):
        body = json.dumps({"role": role}).encode()
        await town("PUT", "/api/users/user-vic", body, headers=town.by_token("ann"))
        assert (await town("GET", "/api/users", headers=vic)).status == status


class FullDisk:
    """A store that takes no change."""

    async def change(self, put: Iterable[Row], drop: Iterable[Row]) -> None:
        await trio.lowlevel.checkpoint()
        raise StoreUnavailable("The disk is full.")


@pytest.mark.parametrize("full", [False, True], ids=["a disk", "a full disk"])
async def test_a_login_in_between_does_not_outlive_a_new_password(town: Town, full: bool) -> None:
    """The password was right when it was looked at, and is not when the session begins."""
    app = town.served.app

    class Meddling:
        async def check(
            self, password: str, known: str | None, *, patient: bool
        ) -> tuple[bool, str | None]:
            await town("PUT", "/api/users/user-vic", body, headers=town.by_token("ann"))
            if full:
                app.house.keyring._store = FullDisk()
            return True, None

        async def hashed(self, password: str) -> str:
            return await passwords.hashed(password)

    passwords, body = app.doors.passwords, b'{"password": "another long one"}'
    app.doors.passwords = Meddling()  # type: ignore[assignment]

    reply = await town.log_in("vic")

    assert (reply.status, reply.error["code"]) == (401, "invalid_credentials")
    assert not cookies_of(reply)


async def test_a_full_disk_keeps_out_nobody_who_knows_the_password(town: Town) -> None:
    town.served.app.house.keyring._store = FullDisk()

    assert (await town.log_in("ann")).status == 200
    assert (await town.log_in("ann", "wrong")).status == 401


# -- requests that a page of another site has a browser send

OURS, EVIL = HOME, "http://evil.example"
FOREIGN = (
    EVIL,
    "null",
    "",
    "https://llm.example",
    f"http://{HOST}.evil.example",
    "http://evil.example:32768",
    "http://llm.example:32769",
    f"http://{HOST}, {EVIL}",
    f"{EVIL}, http://{HOST}",
    f"http://{HOST}@evil.example",
    "http://[",
    "http://llm.example:99999",
    "file://",
    HOST,
)
"""In Origin or Referer. The last but two is what two of one header come to."""

EDIT = ("PUT", "/api/endpoints/id-a", b'{"notes": "changed"}')


async def was_let_in(town: Town, headers: dict[str, str]) -> bool:
    method, path, body = EDIT
    reply = await town(method, path, body, headers=headers)
    notes = town.served.scene.known("a").notes
    assert (notes == "changed") is (reply.status == 200)
    if reply.status != 200:
        assert reply.status in (401, 403), reply.body
        return False
    await town("PUT", path, b'{"notes": null}', headers=town.by_token("ann"))
    return True


async def test_only_a_page_of_ours_changes_something_with_a_cookie(town: Town) -> None:
    """Every combination of what a browser, and what a page, may have sent."""
    origins = (None, OURS, EVIL, "null")
    referers = (None, f"{OURS}/page?x=1", f"{EVIL}/?{OURS}")
    sites = (None, "same-origin", "same-site", "cross-site", "none", "")
    modes = (None, "navigate", "cors")
    tokens = ("none", "header", "cookie", "both", "other's", "planted", "empty")
    token, session = town.session("ann")
    other = town.session("ann")[1].csrf_token
    held = {
        "none": (None, None),
        "header": (session.csrf_token, None),
        "cookie": (None, session.csrf_token),
        "both": (session.csrf_token, session.csrf_token),
        "other's": (other, other),
        "planted": ("A" * 32, "A" * 32),
        "empty": ("", ""),
    }
    for origin, referer, site, mode, which in product(origins, referers, sites, modes, tokens):
        if mode is not None and site in (None, ""):
            continue  # browsers send both or none
        said, kept = held[which]
        cookie = f"{SESSION_COOKIE}={token}"
        headers = {
            "host": HOST,
            "cookie": cookie if kept is None else f"{cookie}; {CSRF_COOKIE}={kept}",
            **({} if origin is None else {"origin": origin}),
            **({} if referer is None else {"referer": referer}),
            **({} if site is None else {"sec-fetch-site": site}),
            **({} if mode is None else {"sec-fetch-mode": mode}),
            **({} if said is None else {"x-csrf-token": said}),
        }
        from_ours = (
            site == "same-origin"
            if site is not None
            else (origin or referer or "").startswith(OURS) and origin in (None, OURS)
        )
        assert await was_let_in(town, headers) is (from_ours and which == "both"), headers


@pytest.mark.parametrize("name", ["origin", "referer"])
@pytest.mark.parametrize("foreign", FOREIGN)
async def test_no_other_origin_passes_for_ours(town: Town, name: str, foreign: str) -> None:
    page = town.by_cookie("ann")
    del page["origin"]

    assert not await was_let_in(town, {**page, name: foreign})
    assert await was_let_in(town, {**page, name: OURS})


@pytest.mark.parametrize(
    "more",
    [
        {"x-forwarded-host": "evil.example", "origin": EVIL},
        {"x-forwarded-proto": "https", "origin": EVIL},
        {"forwarded": "host=evil.example", "origin": EVIL},
        {"x-original-host": "evil.example", "origin": EVIL},
        {"x-requested-with": "XMLHttpRequest", "origin": EVIL},
        {"sec-fetch-site": "same-origin, cross-site"},
        {"sec-fetch-site": "SAME-ORIGIN", "origin": EVIL},
    ],
    ids=str,
)
async def test_no_other_header_stands_in_for_the_origin(town: Town, more: dict[str, str]) -> None:
    assert not await was_let_in(town, {**town.by_cookie("ann"), **more})


async def test_a_second_cookie_beside_ours_is_not_chosen_from(town: Town) -> None:
    (mine, session), (evil, planted) = town.session("ann"), town.session("vic")
    page = as_browser(mine, session, csrf=True)
    for extra in (
        f"{SESSION_COOKIE}={evil}",
        f"{SESSION_COOKIE}=",
        f"{CSRF_COOKIE}={planted.csrf_token}",
        f"{CSRF_COOKIE}=",
    ):
        for cookie in (f"{page['cookie']}; {extra}", f"{extra}; {page['cookie']}"):
            assert not await was_let_in(town, {**page, "cookie": cookie})
    assert await was_let_in(town, {**page, "cookie": f"{page['cookie']}; other=x"})
    twice = [*((n, t) for n, t in page.items()), ("cookie", f"{SESSION_COOKIE}={evil}")]
    method, path, body = EDIT
    assert (await town(method, path, body, headers=twice)).status == 401


@pytest.mark.parametrize("name", ["authorization", "x-api-key"])
@pytest.mark.parametrize("text", ["", "x", "Bearer", "Bearer x", "Basic x", "null"])
async def test_a_header_that_proves_nothing_is_no_way_round_the_check(
    town: Town, name: str, text: str
) -> None:
    assert not await was_let_in(town, {**town.by_cookie("ann", csrf=False), name: text})
    assert not await was_let_in(town, {**town.by_cookie("ann"), name: text})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_nothing_that_is_read_changes_anything(town: Town, method: str) -> None:
    def there() -> object:
        endpoints = town.served.app.house.registry.catalog.endpoints.values()
        return town.accounts, [(e.id, e.name, e.base_url, e.mode, e.notes) for e in endpoints]

    before = there()
    for line in TABLE.values():
        if line.method != "GET" or line.path.endswith("/events"):
            continue
        for headers in (town.by_cookie("ann", csrf=False), town.by_token("ann")):
            for query in (b"", b"_method=DELETE&method=DELETE&verify=true"):
                await town(method, line.path, b"", headers=headers, query_string=query)
    assert there() == before


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors", "origin": EVIL},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
        {"origin": EVIL},
        {"origin": "null"},
    ],
    ids=str,
)
async def test_no_script_of_another_site_reads_with_a_cookie(
    town: Town, headers: dict[str, str]
) -> None:
    page = {**town.by_cookie("ann", csrf=False), **headers}

    reply = await town("GET", "/api/users", headers=page)

    assert (reply.status, reply.error["code"]) == (403, "csrf_failed")


async def test_a_link_on_another_site_may_lead_here(town: Town) -> None:
    led = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}

    reply = await town("GET", "/api/auth/me", headers={**town.by_cookie("ann", csrf=False), **led})

    assert reply.status == 200


FROM_ELSEWHERE = [
    {"origin": EVIL},
    {"origin": "null"},
    {"origin": EVIL, "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"},
    {"origin": EVIL, "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    {"origin": EVIL, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    {"origin": "http://llm.example:1", "sec-fetch-site": "same-site", "sec-fetch-mode": "navigate"},
]


@pytest.mark.parametrize("headers", FROM_ELSEWHERE, ids=str)
@pytest.mark.parametrize("kind", ["application/json", "text/plain", ""])
async def test_no_page_of_another_site_logs_somebody_in(
    town: Town, headers: dict[str, str], kind: str
) -> None:
    """As with a form of text/plain, which makes JSON and is sent with every browser's blessing."""
    sent = {"host": HOST, **headers, "content-type": kind}

    reply = await town.log_in("vic", headers=sent)

    assert (reply.status, reply.error["code"]) == (403, "csrf_failed")
    assert not cookies_of(reply)
    assert town.user("vic").last_login_at is None


@pytest.mark.parametrize("headers", FROM_ELSEWHERE, ids=str)
async def test_no_page_of_another_site_registers_anybody(
    town: Town, headers: dict[str, str]
) -> None:
    made = await town("POST", "/api/invitations", b"", headers=town.by_token("ann"))
    body = {"invitation_code": made.json["code"], "username": "eve", "password": PASSWORD}

    reply = await town(
        "POST", "/api/auth/register", json.dumps(body).encode(), headers={"host": HOST, **headers}
    )

    assert (reply.status, reply.error["code"]) == (403, "csrf_failed")
    assert "eve" not in town.accounts.by_name
    [invitation] = town.accounts.invitations.values()
    assert invitation.digest == digest_of(made.json["code"])
    assert invitation.used_by is None


@pytest.mark.parametrize("headers", FROM_ELSEWHERE, ids=str)
async def test_no_page_of_another_site_makes_the_first_administrator(
    bare: Town, headers: dict[str, str]
) -> None:
    token = bare.served.app.doors.setup._token
    body = {"token": token, "username": "eve", "password": PASSWORD}

    reply = await bare(
        "POST", "/setup", json.dumps(body).encode(), headers={"host": HOST, **headers}
    )

    assert (reply.status, reply.error["code"]) == (403, "csrf_failed")
    assert not bare.accounts.users


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": OURS}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}],
    ids=str,
)
async def test_a_script_and_a_page_of_ours_log_in(town: Town, headers: dict[str, str]) -> None:
    assert (await town.log_in("vic", headers={"host": HOST, **headers})).status == 200
