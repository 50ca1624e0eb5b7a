"""Streams of events and WebSockets: how they are let in, and how long."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from llmlb.accounts import RevokedSession, Role
from llmlb.events import StorageWell
from llmlb.http.access.credentials import SESSION_COOKIE
from llmlb.http.manage.following import KEEP_ALIVE_EVERY_S
from llmlb.http.manage.places import MOST_OF_ONE
from tests.fakes.accounts import bearer, user
from tests.fakes.asgi import Request, Upgrade
from tests.security.town import HOME, STRANGER, Town, as_browser

EVENTS, SOCKET = ("GET", "/api/dashboard/events"), ("WS", "/ws/dashboard")
both = pytest.mark.parametrize("route", [EVENTS, SOCKET], ids=["stream", "socket"])
RARE = b"types=StorageWell"


async def begin(town: Town, route: tuple[str, str], **more: Any) -> Request:
    asked = town.served.request(*route, **{"query_string": RARE, **STRANGER, **more})
    town.served.begin(asked)
    await wait_all_tasks_blocked()
    return asked


def is_open(asked: Request) -> bool:
    return asked.status in (101, 200) and not asked.over.is_set()


async def assert_ended(asked: Request) -> None:
    """Within a heartbeat, and said."""
    with trio.fail_after(KEEP_ALIVE_EVERY_S + 0.1):
        await asked.over.wait()
    assert asked.complete
    if isinstance(asked, Upgrade):
        assert asked.closed_with == 1008
    else:
        assert b'"unauthorized"' in asked.body


@both
async def test_it_ends_when_the_session_runs_out(town: Town, route: tuple[str, str]) -> None:
    token, _ = town.session("vic", hours_ago=23.99)
    asked = await begin(town, route, headers={"authorization": f"Bearer {token}"})
    await trio.sleep(5 * KEEP_ALIVE_EVERY_S)
    assert is_open(asked)
    town.clock.pass_by(minutes=1)
    await assert_ended(asked)


@both
@pytest.mark.parametrize("how", ["logout", "user gone", "password due", "sessions ended"])
async def test_it_ends_with_the_session_that_it_was_opened_with(
    town: Town, route: tuple[str, str], how: str
) -> None:
    token, session = town.session("vic")
    asked = await begin(town, route, headers=as_browser(token, session, csrf=False))
    other = await begin(town, route, headers=town.by_token("ann"))
    assert is_open(asked)
    vic = town.user("vic")
    match how:
        case "logout":
            await town.move_in(RevokedSession(session.id, session.user_id, session.expires_at))
        case "user gone":
            await town.move_out(vic)
        case "password due":
            await town.move_in(replace(vic, must_change_password=True))
        case _:
            await town.move_in(replace(vic, generation=vic.generation + 1))
    await assert_ended(asked)
    assert is_open(other)
    other.leave()


@both
async def test_nothing_is_told_to_somebody_who_has_logged_out(
    town: Town, route: tuple[str, str]
) -> None:
    token, session = town.session("vic")
    asked = await begin(town, route, headers={"authorization": f"Bearer {token}"})
    await town.move_in(RevokedSession(session.id, session.user_id, session.expires_at))
    town.served.app.house.tell_event(StorageWell())
    await assert_ended(asked)
    assert b"StorageWell" not in asked.body


@pytest.mark.parametrize("how", ["disabled", "gone", "without the permission"])
async def test_the_log_ends_with_the_key_that_it_was_opened_with(town: Town, how: str) -> None:
    log = ("GET", "/api/dashboard/logs/lb")
    asked = await begin(
        town, log, query_string=b"follow=true&text=nothing", headers=bearer("ann-all")
    )
    assert is_open(asked)
    key = next(k for k in town.accounts.keys.values() if k.name == "ann-all")
    match how:
        case "disabled":
            await town.move_in(replace(key, enabled=False))
        case "gone":
            await town.move_out(key)
        case _:
            await town.move_in(replace(key, permissions=frozenset()))
    await assert_ended(asked)


async def test_this_machine_follows_until_there_is_an_administrator(town: Town) -> None:
    gate = town.served.app.doors.gate
    here = {"client": ("127.0.0.1", 5), "server": ("127.0.0.1", 32768)}
    for person in ("ann", "vic"):
        await town.move_out(town.user(person))
    assert gate.setting_up
    asked = await begin(town, SOCKET, **here)
    assert is_open(asked)
    await town.move_in(user("ann", Role.ADMIN))
    await assert_ended(asked)


async def test_nobody_takes_the_places_of_all(town: Town) -> None:
    vic, ann = town.by_token("vic"), town.by_token("ann")
    many = [await begin(town, (EVENTS, SOCKET)[n % 2], headers=vic) for n in range(MOST_OF_ONE)]
    assert all(map(is_open, many))
    for route in (EVENTS, SOCKET):
        refused = await begin(town, route, headers=vic)
        assert (refused.status, refused.error["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"] == "30"
        assert is_open(await begin(town, route, headers=ann)), "others are not kept out"
    for gone in many[:2]:
        gone.leave()
        await gone.over.wait()
    assert is_open(await begin(town, EVENTS, headers=vic))
    assert is_open(await begin(town, SOCKET, headers=vic))


# -- how a WebSocket is let in


async def refused(town: Town, **more: Any) -> tuple[int, str]:
    reply = await begin(town, SOCKET, **more)
    return reply.status, reply.error["code"]


async def test_a_page_shows_its_token_in_the_query(town: Town) -> None:
    token, _ = town.session("vic")
    asked = await begin(town, SOCKET, query_string=b"token=" + token.encode())
    assert is_open(asked)
    asked.leave()


async def test_a_header_wins_over_the_query_and_the_query_over_a_cookie(town: Town) -> None:
    good, _ = town.session("vic")
    bad = await town.revoked("vic")
    query, header = b"token=" + good.encode(), {"authorization": f"Bearer {bad}"}
    assert await refused(town, query_string=query, headers=header) == (401, "invalid_session")
    cookie = {"cookie": f"{SESSION_COOKIE}={bad}"}
    asked = await begin(town, SOCKET, query_string=query, headers=cookie)
    assert is_open(asked)
    asked.leave()
    query, cookie = b"token=" + bad.encode(), {"cookie": f"{SESSION_COOKIE}={good}"}
    assert await refused(town, query_string=query, headers=cookie) == (401, "invalid_session")


@pytest.mark.parametrize("token", ["", "x", "sk_x", "a.b.c", "%ff%00", "%C3%A9"])
async def test_what_is_no_token_opens_nothing(town: Town, token: str) -> None:
    assert (await refused(town, query_string=b"token=" + token.encode()))[0] == 401


async def test_a_key_opens_no_web_socket(town: Town) -> None:
    key = bearer("ann-all")["authorization"].removeprefix("Bearer ").encode()
    told = await refused(town, query_string=b"token=" + key)
    assert told == (403, "insufficient_permissions")


async def test_the_query_opens_web_sockets_alone(town: Town) -> None:
    token, _ = town.session("ann")
    reply = await begin(town, EVENTS, query_string=b"token=" + token.encode())
    assert reply.status == 401


async def test_a_page_of_another_site_opens_nothing_with_a_cookie(town: Town) -> None:
    ours = town.by_cookie("vic", csrf=False)
    for foreign in ({"origin": "https://evil.example"}, {"origin": "null"}):
        assert await refused(town, headers={**ours, **foreign}) == (403, "csrf_failed")
    site = {"origin": HOME, "sec-fetch-site": "cross-site", "sec-fetch-mode": "websocket"}
    assert await refused(town, headers={**ours, **site}) == (403, "csrf_failed")
    asked = await begin(town, SOCKET, headers={**ours, "origin": HOME})
    assert is_open(asked)
    asked.leave()


async def test_no_token_of_a_query_is_written_down(
    town: Town, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()  # the link of the setup
    bad = await town.revoked("vic")
    assert (await refused(town, query_string=b"token=" + bad.encode()))[0] == 401
    good, _ = town.session("ann")
    asked = await begin(town, SOCKET, query_string=b"token=" + good.encode())
    asked.leave()
    await trio.sleep(60)
    entries = await town("GET", "/api/dashboard/audit-logs", headers=town.by_token("ann"))
    assert b"/ws/dashboard" in entries.body
    said = entries.body.decode() + "".join(capsys.readouterr())
    assert "token=" not in said
    for token in (bad, good):
        assert token.split(".")[2] not in said
