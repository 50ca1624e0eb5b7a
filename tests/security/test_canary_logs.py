"""Whatever breaks, and whatever its traceback holds: no secret stands in any log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from llmlb.settings import Settings
from tests.fakes.accounts import key, secret_of
from tests.fakes.openai import chat
from tests.security.town import Town, settle_in, town_in

MARK = "cAnArY"

KEY, HEADER, NEW_KEY = f"{MARK}-key-of-an-endpoint", f"{MARK} header", f"{MARK}-not-known-yet"
PASSWORD, ADMIN, PROCESS = f"{MARK} of ann", f"{MARK}-admin", f"{MARK}-process-{'x' * 32}"
CLIENT = secret_of(MARK)

SETTINGS: dict[str, Any] = {"admin_password": SecretStr(ADMIN), "secret_key": SecretStr(PROCESS)}


def breaks(*shown: Any) -> None:
    raise RuntimeError(" ".join(str(each) for each in shown))


async def break_everything(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have everything that knows a secret fail, and say it."""
    app = town.served.app

    async def attempt(_: object, lease: Any, request: Any, inbound: Any, *__: object) -> None:
        known = lease.endpoint
        try:
            breaks("call", inbound.headers, known.api_key, known.extra_headers)
        except RuntimeError as error:
            error.add_note(f"{app.house.settings.admin_password!r} {ADMIN} {PROCESS}")
            raise ValueError(repr(inbound), json.dumps(dict(inbound.headers))) from error

    async def register(endpoint: Any) -> None:
        breaks("register", f"api_key={endpoint.api_key!r}", {"api_key": endpoint.api_key})

    async def check(password: str, *_: Any) -> None:
        breaks("login", {"username": "ann", "password": password}, f"password: {password!r}")

    monkeypatch.setattr("llmlb.http.exchange.Attempts.run", attempt)
    monkeypatch.setattr(app.house.registry, "register", register)
    monkeypatch.setattr(app.doors.passwords, "check", check)
    ann = {**town.by_token("ann"), "cookie": town.by_cookie("ann")["cookie"]}
    with_key = {"authorization": f"Bearer {CLIENT}"}
    for path, body, headers in (
        ("/v1/chat/completions", chat(), with_key),
        ("/v1/chat/completions", chat(model="known"), {"x-api-key": CLIENT}),
        ("/v1/chat/completions", chat(stream=True), with_key),
        ("/api/endpoints/id-k/chat/completions", chat(model="known"), ann),
        (
            "/api/endpoints",
            json.dumps({"name": "n", "base_url": "http://n.lan", "api_key": NEW_KEY}).encode(),
            ann,
        ),
        (
            "/api/auth/login",
            json.dumps({"username": "ann", "password": PASSWORD}).encode(),
            {},
        ),
    ):
        assert (await town("POST", path, body, headers=headers)).status == 500, path
    log = structlog.get_logger()
    log.warning("in a URL", url=f"postgres://me:{MARK}@db/x", link=f"/setup?token={MARK}")
    log.error("in an error", exc_info=OSError(5, f"no way to http://me:{MARK}@desk/", MARK * 0))


async def test_no_secret_is_in_any_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "llmlb.jsonl"
    async with town_in(tmp_path, **SETTINGS) as town:
        await settle_in(town)
        await town.move_in(key(MARK, "ann"))
        await town.served.scene.endpoint(
            "k", "known", api_key=KEY, extra_headers=(("x-team", HEADER),)
        )
        town.served.app.logs.begin(Settings(log_level="debug", log_file=path, **SETTINGS))
        follower = town.served.request(
            "GET",
            "/api/dashboard/logs/lb",
            query_string=b"follow=true",
            headers=town.by_token("ann"),
        )
        town.served.begin(follower)
        await town.served.scene.settle()
        await break_everything(town, monkeypatch)
        await town.served.scene.settle()
        shown = await town(
            "GET",
            "/api/dashboard/logs/lb",
            query_string=b"limit=1000",
            headers=town.by_token("ann"),
        )
        follower.leave()
        await follower.over.wait()
    structlog.reset_defaults()

    places = (capfd.readouterr().err, path.read_text(), shown.body.decode(), follower.body.decode())
    for told in places:
        assert all(word in told for word in ("RuntimeError", "call", "register", "login", "desk"))
        assert MARK not in told
