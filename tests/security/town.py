"""The whole application with people in it, and what an attacker might hold in their hands."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
import trio
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from llmlb.accounts import Accounts, RevokedSession, Role, Row, Step, User, UserId
from llmlb.http.access.credentials import CSRF_COOKIE, SESSION_COOKIE
from llmlb.http.access.sessions import Session, Sessions
from llmlb.http.application import create_app
from llmlb.settings import Settings
from llmlb.world import World
from tests.fakes.accounts import PASSWORD, key, moved_in, user
from tests.fakes.asgi import Request
from tests.fakes.house import NOW, run_inline
from tests.fakes.openai import completion
from tests.fakes.served import Served
from tests.fakes.upstream import FakeUpstream, json_answer

Headers = Mapping[str, str]

HOST = "llm.example:32768"
HOME = f"http://{HOST}"
"""Where browsers reach the balancer in these tests."""

STRANGER: dict[str, Any] = {"client": ("203.0.113.9", 40_000), "server": ("192.168.1.2", 32768)}
"""Part of the scope of a request from another machine."""


@dataclass
class Clock:
    """The wall clock, which a test may turn."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **time: float) -> None:
        self.now += timedelta(**time)


@dataclass
class Town:
    """An application that serves, ann who is an administrator, and vic who is a viewer."""

    served: Served
    clock: Clock
    views: list[str] = field(default_factory=list)
    """The endpoints of Quart whose views have been called."""

    async def __call__(
        self, method: str, path: str, body: bytes | None = b"", **more: Any
    ) -> Request:
        """One request from another machine, and its whole answer."""
        return await self.served(method, path, body, **{**STRANGER, **more})

    @property
    def accounts(self) -> Accounts:
        return self.served.app.house.keyring.accounts

    @property
    def sessions(self) -> Sessions:
        return self.served.app.doors.gate.sessions

    async def move_in(self, *rows: Row) -> None:
        await moved_in(self.served.app.house, *rows)

    async def move_out(self, *rows: Row) -> None:
        def drop(_: Accounts) -> Step[None]:
            return Step(None, drop=rows)

        await self.served.app.house.keyring.change(drop)

    async def new_admin(self, name: str) -> None:
        await self.move_in(user(name, Role.ADMIN))

    def user(self, name: str) -> User:
        return self.accounts.users[UserId(f"user-{name}")]

    # -- what somebody who has logged in holds

    def session(self, name: str, *, hours_ago: float = 0) -> tuple[str, Session]:
        """A token of the user *name*, as a login makes one."""
        began = self.clock.now - timedelta(hours=hours_ago)
        token, _ = Sessions(self.sessions.keys, lambda: began).begin(self.user(name))
        return token, Sessions(self.sessions.keys, lambda: began).read(token)

    def by_token(self, name: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.session(name)[0]}"}

    def by_cookie(self, name: str, *, csrf: bool = True) -> dict[str, str]:
        """What a browser sends of its own accord, and with *csrf* what our page adds to it."""
        return as_browser(*self.session(name), csrf=csrf)

    async def revoked(self, name: str) -> str:
        """A token that has been logged out."""
        token, session = self.session(name)
        await self.move_in(RevokedSession(session.id, session.user_id, session.expires_at))
        return token

    async def log_in(self, name: str, password: str = PASSWORD, **more: Any) -> Request:
        body = b'{"username": "%b", "password": "%b"}' % (name.encode(), password.encode())
        return await self("POST", "/api/auth/login", body, **more)


def as_browser(token: str, session: Session, *, csrf: bool) -> dict[str, str]:
    cookie = f"{SESSION_COOKIE}={token}; {CSRF_COOKIE}={session.csrf_token}"
    headers = {"host": HOST, "cookie": cookie}
    if csrf:
        headers |= {"origin": HOME, "x-csrf-token": session.csrf_token}
    return headers


def cookies_of(reply: Request) -> dict[str, str]:
    """The whole text of each cookie that an answer sets, by its name."""
    lines = [
        text.decode() for name, text in reply.answer[0]["headers"] if name.lower() == b"set-cookie"
    ]
    return {line.partition("=")[0]: line for line in lines}


def value_in(line: str) -> str:
    """The value that a Set-Cookie line sets."""
    return line.partition("=")[2].partition(";")[0]


@asynccontextmanager
async def town_in(
    directory: Path, *, database_url: str | None = "sqlite::memory:", **settings: Any
) -> AsyncIterator[Town]:
    """An application, still without people."""
    upstream, clock = FakeUpstream(), Clock()
    app = create_app(
        Settings(data_dir=directory, database_url=database_url, **settings),
        client=upstream,
        world=World(now=clock, rng=random.Random(1)),
        run_in_thread=run_inline,
    )
    async with trio.open_nursery() as nursery:
        town = Town(Served(app, upstream, nursery), clock)
        _watch_views(town)
        await town.served.lifespan.start(nursery)
        structlog.reset_defaults()  # it logs to the standard error of this test
        # the true one takes 64 MiB and 50 ms for each password, and tests it elsewhere
        cheap = Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1)
        app.doors.passwords._hash = PasswordHash((cheap,))
        yield town
        await town.served.lifespan.stop()
        nursery.cancel_scope.cancel()


def _watch_views(town: Town) -> None:
    views = town.served.app.view_functions
    for name, view in list(views.items()):

        async def watched(_name: str = name, _view: Any = view, **arguments: Any) -> Any:
            town.views.append(_name)
            return await _view(**arguments)

        views[name] = watched


async def settle_in(town: Town) -> None:
    """The people whom most tests need, their keys, and an endpoint that answers."""
    await town.move_in(
        user("ann", Role.ADMIN),
        user("vic", Role.VIEWER),
        key("ann-all", "ann"),
        key("vic-all", "vic"),
    )
    await town.served.scene.endpoint("a", "tiny", slots=100)
    town.served.scene.on("a", json_answer(completion()))
    await town.served.scene.settle()
    town.served.upstream.calls.clear()
    town.views.clear()
