"""The routes of the audit log, on a real house."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
import trio
from pydantic import BaseModel, TypeAdapter

from llmlb.audit import GENESIS, ActorType, AuditEvent, entry_after
from llmlb.http.manage import audit as routes
from llmlb.http.manage.query import READ_LIMIT_S
from llmlb.http.openapi import audit as described
from tests.fakes.asgi import Request
from tests.fakes.house import NOW
from tests.fakes.served import Served

LOGS = "/api/dashboard/audit-logs"

CREATED = AuditEvent(
    at=NOW,
    action="endpoint.create",
    actor_type=ActorType.USER,
    actor_id="u1",
    actor_name="ann",
    client_address="10.0.0.1",
    method="POST",
    path="/api/endpoints",
    status=201,
    object_type="endpoint",
    object_id="e1",
    endpoint_id="e1",
    request_id="r1",
)
USED = AuditEvent(
    at=NOW + timedelta(microseconds=1),
    action="key.use",
    actor_type=ActorType.API_KEY,
    api_key_id="k1",
    api_key_owner_id="u1",
    client_address="fe80::1",
    method="GET",
    path="/v1/models",
    status=200,
    model="m",
)
REFUSED = AuditEvent(
    at=NOW + timedelta(hours=1),
    action="auth.failed",
    actor_type=ActorType.ANONYMOUS,
    client_address="203.0.113.9",
    method="DELETE",
    path="/api/endpoints/e1",
    status=401,
    detail="100% wrong",
)


@pytest.fixture
async def audited(served: Served) -> Served:
    """An application whose audit log has three entries."""
    for event in (CREATED, USED, REFUSED):
        served.app.house.tell_audit(event)
    await trio.sleep(1)
    return served


async def look(served: Served, **query: object) -> Request:
    return await served("GET", LOGS, query_string=urlencode(query).encode())


async def ids(served: Served, **query: object) -> list[int]:
    reply = await look(served, **query)
    assert reply.status == 200, reply.body
    TypeAdapter(described.AuditEntryListShown).validate_json(reply.body, strict=True)
    return [item["id"] for item in reply.json["items"]]


async def test_an_entry_shows_every_field_and_its_place_in_the_chain(audited: Served) -> None:
    reply = await look(audited, actor_type="user")
    entry = entry_after(GENESIS, CREATED)
    assert reply.json == {
        "items": [
            {
                "id": 1,
                "timestamp": "2026-03-01T12:00:00.000000Z",
                "action": "endpoint.create",
                "http_method": "POST",
                "request_path": "/api/endpoints",
                "status_code": 201,
                "actor_type": "user",
                "actor_id": "u1",
                "actor_username": "ann",
                "api_key_id": None,
                "api_key_owner_id": None,
                "client_ip": "10.0.0.1",
                "object_type": "endpoint",
                "object_id": "e1",
                "endpoint_id": "e1",
                "model_name": None,
                "request_id": "r1",
                "detail": None,
                "count": 1,
                "previous_hash": "0" * 64,
                "hash": entry.hash,
            }
        ],
        "total": 1,
        "page": 1,
        "per_page": 50,
    }


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, [3, 2, 1]),
        ({"actor_type": "api_key"}, [2]),
        ({"actor_type": "system"}, []),
        ({"actor_id": "u1"}, [1]),
        ({"http_method": "post"}, [1]),
        ({"http_method": ""}, [3, 2, 1]),
        ({"request_path": "/api/endpoints"}, [1]),
        ({"status_code": "401"}, [3]),
        ({"time_from": "2026-03-01T12:30:00Z"}, [3]),
        ({"time_from": "2026-03-01T14:00:00+02:00", "time_to": "2026-03-01T12:00:00Z"}, [1]),
        ({"ip": "203.0"}, [3]),
        ({"ip": "%"}, []),
        ({"search": "%"}, [3]),
        ({"search": ""}, [3, 2, 1]),
        ({"search": "ENDPOINT", "http_method": "DELETE"}, [3]),
        ({"per_page": 2}, [3, 2]),
        ({"per_page": 2, "page": 2}, [1]),
        ({"page": 1_000_000, "per_page": 500}, []),
    ],
)
async def test_all_that_is_asked_for_has_to_hold(
    audited: Served, query: dict[str, object], found: list[int]
) -> None:
    assert await ids(audited, **query) == found


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"actor_type": "god"}, "actor_type"),
        ({"status_code": "4xx"}, "status_code"),
        ({"status_code": "²00"}, "status_code"),
        ({"status_code": ""}, "status_code"),
        ({"time_from": "yesterday"}, "time_from"),
        ({"time_to": "2026-13-01"}, "time_to"),
        ({"ip": "1" * 201}, "ip"),
        ({"search": "%" * 201}, "search"),
        ({"per_page": 501}, "per_page"),
        ({"page": 0}, "page"),
    ],
)
async def test_a_wrong_wish_is_refused_by_its_name(
    audited: Served, query: dict[str, object], param: str
) -> None:
    reply = await look(audited, **query)
    assert (reply.status, reply.error["param"]) == (400, param)


async def test_figures_count_by_method_and_by_actor(audited: Served) -> None:
    reply = await audited("GET", f"{LOGS}/stats")
    assert reply.json == {
        "total_entries": 3,
        "by_method": [
            {"method": "DELETE", "count": 1},
            {"method": "GET", "count": 1},
            {"method": "POST", "count": 1},
        ],
        "by_actor_type": [
            {"actor_type": "anonymous", "count": 1},
            {"actor_type": "api_key", "count": 1},
            {"actor_type": "user", "count": 1},
        ],
        "last_24h": 3,
    }


async def test_a_chain_that_is_whole_is_said_so_with_where_it_ends(audited: Served) -> None:
    reply = await audited.post(f"{LOGS}/verify", b"")
    assert reply.json == {
        "valid": True,
        "batches_checked": 1,
        "entries_checked": 3,
        "tampered_batch": None,
        "first_bad_id": None,
        "message": "The chain is whole (3 entries).",
        "head": {"id": 3, "hash": (await audited("GET", LOGS)).json["items"][0]["hash"]},
    }


async def test_a_changed_row_is_an_answer_and_an_event(audited: Served) -> None:
    await audited.app.house.store._database.run(
        lambda connection: [
            connection.execute("DROP TRIGGER audit_entries_never_change"),
            connection.execute("UPDATE audit_entries SET actor_name = 'bob' WHERE sequence = 2"),
        ]
    )
    follower = Request(audited.app, "GET", "/api/dashboard/events")
    audited.begin(follower)
    await trio.testing.wait_all_tasks_blocked()
    reply = await audited.post(f"{LOGS}/verify", b"")
    assert (reply.json["valid"], reply.json["first_bad_id"]) == (False, 2)
    assert (reply.json["tampered_batch"], reply.json["message"]) == (1, "Entry 2 was changed.")
    await trio.testing.wait_all_tasks_blocked()
    assert b'"type": "AuditLogBroken"' in follower.body
    assert b"Entry 2 was changed." in follower.body


async def test_both_prefixes_answer(audited: Served) -> None:
    for path in ("", "/stats"):
        assert (await audited("GET", f"/v0/dashboard/audit-logs{path}")).status == 200
    assert (await audited.post("/v0/dashboard/audit-logs/verify", b"")).status == 200


ANSWERS: list[tuple[str, str, type[BaseModel]]] = [
    ("GET", LOGS, described.AuditEntryListShown),
    ("GET", f"{LOGS}/stats", described.AuditFiguresShown),
    ("POST", f"{LOGS}/verify", described.VerificationShown),
]


@pytest.mark.parametrize(("method", "path", "shape"), ANSWERS)
async def test_an_answer_has_the_fields_that_are_declared_and_no_others(
    audited: Served, method: str, path: str, shape: type[BaseModel]
) -> None:
    audited.app.house.tell_audit(AuditEvent(NOW, "audit.lost", ActorType.SYSTEM))
    await trio.sleep(1)
    reply = await audited(method, path, b"")
    TypeAdapter(shape).validate_json(reply.body, strict=True)


async def test_a_database_that_does_not_answer_is_not_waited_for_for_ever(
    audited: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def for_ever(*_: Any) -> None:
        await trio.sleep_forever()

    house = audited.app.house
    monkeypatch.setattr(house.store.audit, "search", for_ever)
    monkeypatch.setattr(house.store.audit, "figures", for_ever)
    monkeypatch.setattr(house.store.audit, "check_some", for_ever)
    for method, path, limit_s in (
        ("GET", LOGS, READ_LIMIT_S),
        ("GET", f"{LOGS}/stats", READ_LIMIT_S),
        ("POST", f"{LOGS}/verify", routes.VERIFY_LIMIT_S),
    ):
        began_s = trio.current_time()
        reply = await audited(method, path, b"")
        assert (reply.status, reply.error["code"]) == (503, "store_unavailable")
        assert trio.current_time() - began_s == pytest.approx(limit_s, abs=1)
