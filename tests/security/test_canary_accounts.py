"""What opens doors is shown once, to whoever it is for, and stands nowhere afterwards."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio

from llmlb.accounts import Accounts
from tests.fakes.asgi import Request
from tests.security.town import Town, town_in

ADMIN_PASSWORD = "cAnArY admin's own 71b2"
GUEST_PASSWORD = "cAnArY guest's own 9e0d"
WRONG_PASSWORD = "cAnArY mistyped 55aa"
WRONG_KEY = "sk_cAnArYunknown0123456789abcdefgh"  # pragma: allowlist secret


def spellings(secret: str) -> list[bytes]:
    """As it is, and in base64 wherever it may begin in a longer text."""
    raw = secret.encode()
    shifted = (base64.b64encode(b"x" * pad + raw)[4 if pad else 0 : -4] for pad in range(3))
    return [raw, *shifted]


def contents(directory: Path) -> list[bytes]:
    return [file.read_bytes() for file in directory.rglob("*") if file.is_file()]


async def ask(town: Town, method: str, path: str, body: object = None, **headers: str) -> Request:
    raw = b"" if body is None else json.dumps(body).encode()
    return await town(method, path, raw, headers=headers)


async def test_no_password_key_code_or_token_stays_anywhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    secrets = [ADMIN_PASSWORD, GUEST_PASSWORD, WRONG_PASSWORD, WRONG_KEY]
    shown: list[bytes] = []

    async def listened(method: str, path: str, body: object = None, **headers: str) -> Any:
        """An answer in which nothing secret may stand."""
        reply = await ask(town, method, path, body, **headers)
        shown.append(reply.body + str(reply.answer[0]).encode())
        return reply

    settings = {
        "admin_username": "root",
        "admin_password": ADMIN_PASSWORD,
        "database_url": f"sqlite:{tmp_path / 'llmlb.db'}",
        "log_level": "debug",
    }
    async with town_in(tmp_path, **settings) as town:
        login = await ask(
            town, "POST", "/api/auth/login", {"username": "root", "password": ADMIN_PASSWORD}
        )
        token = {"authorization": f"Bearer {login.json['token']}"}
        key = await ask(
            town,
            "POST",
            "/api/me/api-keys",
            {"name": "k", "permissions": ["openai.inference", "endpoints.manage"]},
            **token,
        )
        invitation = await ask(town, "POST", "/api/invitations", {}, **token)
        made = await ask(town, "POST", "/api/users", {"username": "u", "role": "viewer"}, **token)
        secrets += [
            login.json["token"].rpartition(".")[2],
            key.json["key"],
            invitation.json["code"],
            made.json["generated_password"],
        ]
        code = {"invitation_code": invitation.json["code"], "username": "ann"}
        with_key = {"x-api-key": key.json["key"]}
        await listened("POST", "/api/auth/register", {**code, "password": GUEST_PASSWORD})
        await listened("POST", "/api/auth/register", {**code, "password": GUEST_PASSWORD})
        for name in ("root", "nobody", GUEST_PASSWORD):
            said = {"username": name, "password": WRONG_PASSWORD}
            await listened("POST", "/api/auth/login", said)
        await listened("GET", "/v1/models", x_api_key=WRONG_KEY)
        await listened("GET", "/api/users", authorization=f"Bearer {WRONG_KEY}")
        await listened("POST", "/v1/chat/completions", {"model": "none"}, **with_key)
        await listened("POST", "/api/endpoints", {"name": ""}, **with_key)
        for path in ("users", "me/api-keys", "api-keys", "invitations", "auth/me", "endpoints"):
            await listened("GET", f"/api/{path}", **token)
        await listened("PUT", "/api/auth/change-password", {"new_password": "short"}, **token)
        await trio.sleep(2)
        await listened("GET", "/api/dashboard/audit-logs?per_page=500", **token)
        accounts: Accounts = town.accounts
        shown.append(repr([accounts, *accounts.keys.values(), *accounts.users.values()]).encode())
        shown.append(repr(town.served.app.house.settings).encode())
        await listened("POST", "/api/auth/logout", **token)
    structlog.reset_defaults()

    out, err = capfd.readouterr()
    shown += [out.encode(), err.encode()]
    shown += contents(tmp_path)
    for number, secret in enumerate(secrets):
        for spelling in spellings(secret):
            assert not [piece for piece in shown if spelling in piece], f"secret {number}"
