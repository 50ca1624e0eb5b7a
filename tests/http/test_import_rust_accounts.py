"""That whoever used the Rust llmlb goes on as before: the same password, the same key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import trio

from llmlb.accounts import UserId
from tests.fakes.served import Served
from tests.store.test_import_rust import make
from tests.store.test_import_rust_accounts import ANN, ANN_ID, KEY, SCHEMA, SECRET, VIC

PASSWORD = "correct horse bättery"
REMOTE: dict[str, Any] = {"client": ("203.0.113.7", 50_000), "server": ("203.0.113.1", 32768)}


@pytest.fixture
async def moved(unstarted: Served, nursery: trio.Nursery, tmp_path: Path) -> Served:
    """An application that has started beside the Rust llmlb's database."""
    kept = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    users = [
        {**ANN, "username": "Rene\u0301", "password_hash": kept},
        {**VIC, "password_hash": kept},
    ]
    make(tmp_path / "load balancer.db", SCHEMA, {"users": users, "api_keys": [KEY]})
    await unstarted.lifespan.start(nursery)
    return unstarted


async def logged_in(served: Served, name: str, password: str = PASSWORD) -> Any:
    body = json.dumps({"username": name, "password": password}).encode()
    return await served.post("/api/auth/login", body, **REMOTE)


async def test_an_old_password_lets_in_and_is_hashed_anew(moved: Served) -> None:
    def kept() -> str:
        return moved.app.house.keyring.accounts.users[UserId(ANN_ID)].password_hash

    assert kept().startswith("$2b$04$")
    assert (await logged_in(moved, "Ren\u00e9", "wrong")).error["code"] == "invalid_credentials"
    for typed in ("Ren\u00e9", "Rene\u0301"):  # an accent of its own, as some keyboards send it
        answer = await logged_in(moved, typed)
        assert answer.status == 200
        assert answer.json["user"] == {
            "id": ANN_ID,
            "username": "Ren\u00e9",
            "role": "admin",
            "must_change_password": False,
        }
        assert kept().startswith("$argon2id$")
        shows = {"authorization": f"Bearer {answer.json['token']}"}
        listed = await moved("GET", "/api/users", headers=shows, **REMOTE)
        assert {one["username"] for one in listed.json["users"]} == {"Ren\u00e9", "vic"}
    await moved.lifespan.stop()


async def test_an_old_key_opens_what_it_opened(moved: Served) -> None:
    shows = {"authorization": f"Bearer {SECRET}"}
    listed = await moved("GET", "/api/endpoints", headers=shows, **REMOTE)
    assert listed.status == 200
    refused = await moved("GET", "/v1/models", headers=shows, **REMOTE)
    assert (refused.status, refused.error["code"]) == (403, "insufficient_permissions")
    asked = await moved.post("/v1/chat/completions", b'{"model": "x"}', headers=shows, **REMOTE)
    assert (asked.status, asked.error["code"]) == (404, "model_not_found")
    await moved.lifespan.stop()


async def test_nobody_is_asked_to_set_up_what_is_there(moved: Served) -> None:
    assert (await moved("GET", "/setup", **REMOTE)).status == 404
    assert (await moved("GET", "/api/users", **REMOTE)).error["code"] == "missing_api_key"
    await moved.lifespan.stop()
