"""Whatever changes something is recorded, with who did it; so is whoever was refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from llmlb.accounts import Permission
from llmlb.http.access.needs import NEEDS
from llmlb.http.auditing import ACTIONS, action_of
from llmlb.store.audit_search import AuditSearch
from tests.fakes.accounts import PASSWORD, bearer, key, moved_in, user
from tests.fakes.asgi import Request
from tests.fakes.served import Served

NO_DEED = {
    "POST /endpoints/<endpoint_id>/chat/completions",  # inference, which the history is for
}


def test_every_route_that_changes_something_has_a_name_for_it() -> None:
    changing = set()
    for line, need in NEEDS.items():
        method, _, rule = line.partition(" ")
        later = need.key is Permission.REGISTRY_READ
        if method in ("GET", "WS") or rule.startswith(("/v1/", "/v0/")) or later:
            continue
        changing.add(f"{method} {rule.removeprefix('/api')}")
    assert changing - NO_DEED == ACTIONS.keys()
    assert action_of("POST", "/v0/endpoints") == ("endpoint.create", "endpoint")


async def recorded(served: Served) -> list[dict[str, Any]]:
    """The entries so far, the newest last."""
    await trio.sleep(2)  # they are written behind
    entries, _ = await served.app.house.store.audit.search(AuditSearch(limit=500))
    return [entry.written() for entry in reversed(entries)]


async def ask(
    served: Served, method: str, path: str, body: object = None, **headers: str
) -> Request:
    raw = b"" if body is None else json.dumps(body).encode()
    return await served(method, path, raw, headers=headers)


async def test_what_an_administrator_does_is_told_in_full(served: Served) -> None:
    await moved_in(served.app.house, user())
    login = await ask(served, "POST", "/api/auth/login", {"username": "ann", "password": PASSWORD})
    token = {"authorization": f"Bearer {login.json['token']}"}
    form = {"name": "desk", "base_url": "http://desk.lan:8000", "api_key": "sk-endpoint"}
    made = await ask(served, "POST", "/api/endpoints", form, **token)
    endpoint_id = made.json["id"]
    await ask(served, "PUT", f"/v0/endpoints/{endpoint_id}", {"notes": "x"}, **token)
    await ask(served, "DELETE", f"/api/endpoints/{endpoint_id}", **token)

    entries = await recorded(served)
    assert [entry["action"] for entry in entries] == [
        "login",
        "endpoint.create",
        "endpoint.edit",
        "endpoint.delete",
    ]
    for entry in entries:
        assert (entry["actor_type"], entry["actor_id"]) == ("user", "user-ann")
        assert (entry["actor_name"], entry["client_address"]) == ("ann", "127.0.0.1")
        assert entry["request_id"]
    _, create, edit, delete = entries
    assert (create["object_type"], create["object_id"]) == ("endpoint", endpoint_id)
    assert create["endpoint_id"] == edit["endpoint_id"] == delete["endpoint_id"] == endpoint_id
    assert (create["method"], create["path"], create["status"]) == ("POST", "/api/endpoints", 201)
    assert create["detail"] == "desk, http://desk.lan:8000"
    assert (edit["path"], edit["detail"]) == (f"/v0/endpoints/{endpoint_id}", "desk: notes")
    assert "sk-endpoint" not in str(entries)


async def test_what_a_key_does_names_the_key_and_whose_it_is(served: Served) -> None:
    await moved_in(served.app.house, user(), key())
    await ask(served, "POST", "/api/endpoints", {"name": "x"}, **bearer("laptop"))
    (entry,) = await recorded(served)
    assert (entry["actor_type"], entry["actor_name"]) == ("api_key", "laptop")
    assert (entry["api_key_id"], entry["api_key_owner_id"]) == ("key-laptop", "user-ann")
    assert (entry["action"], entry["status"]) == ("endpoint.create", 400)


@pytest.mark.parametrize(
    ("name", "actor", "detail"),
    [("ann", "ann", None), ("in the wrong field", None, "unknown name")],
)
async def test_who_fails_to_log_in_is_recorded_by_name_if_somebody_has_it(
    served: Served, name: str, actor: str | None, detail: str | None
) -> None:
    await moved_in(served.app.house, user())
    said = {"username": name, "password": "guess"}
    assert (await ask(served, "POST", "/api/auth/login", said)).status == 401
    (entry,) = await recorded(served)
    assert (entry["action"], entry["actor_type"]) == ("login.failed", "anonymous")
    assert (entry.get("actor_name"), entry.get("detail")) == (actor, detail)
    assert entry["status"] == 401
    assert "guess" not in str(entry)
    assert "field" not in str(entry)


@pytest.mark.parametrize(
    ("headers", "action", "detail"),
    [
        ({}, "auth.failed", "missing_api_key"),
        (bearer("unknown"), "auth.failed", "invalid_api_key"),
        (bearer("weak"), "access.denied", "insufficient_permissions"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/endpoints", "/v1/models"])
async def test_who_is_not_let_in_is_recorded_whatever_the_route(
    served: Served, path: str, headers: dict[str, str], action: str, detail: str
) -> None:
    await moved_in(
        served.app.house, user(), key("weak", permissions=frozenset({Permission.LOGS_READ}))
    )
    method = "GET" if path == "/v1/models" else "POST"
    assert (await served(method, path, b"{}", headers=headers)).status in (401, 403)
    (entry,) = await recorded(served)
    assert (entry["action"], entry["detail"], entry["path"]) == (action, detail, path)
    named = "weak" if action == "access.denied" else None
    assert entry.get("actor_name") == named


async def test_looking_and_inference_leave_no_entry(served: Served) -> None:
    await moved_in(served.app.house, user(), key())
    for path in ("/api/endpoints", "/v1/models", "/openapi.json"):
        assert (await served("GET", path, headers=bearer("laptop"))).status == 200
    await served.post("/v1/chat/completions", b"{}", headers=bearer("laptop"))
    assert await recorded(served) == []


async def test_the_chain_of_it_all_is_whole(served: Served) -> None:
    await moved_in(served.app.house, user(), key(), key("other"))
    for _ in range(3):
        await ask(served, "PUT", "/api/api-keys/key-other", {"enabled": False}, **bearer("laptop"))
    assert len(await recorded(served)) == 3
    assert (await served.app.house.audit.verify()).valid
