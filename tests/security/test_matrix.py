"""Every route against every kind of caller, by a table that is written out here."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest
import trio

from llmlb.accounts import Permission, Role
from llmlb.http.application import create_app
from tests.fakes.accounts import bearer, key, user
from tests.fakes.asgi import LOOPBACK, Request
from tests.fakes.house import run_inline
from tests.fakes.lane import LaneRequest
from tests.security.town import STRANGER, Town, as_browser, settle_in, town_in

MANAGEMENT = """
POST   /auth/login                                  public
POST   /auth/register                               public
GET    /auth/me                                     viewer at-once
POST   /auth/logout                                 viewer at-once
PUT    /auth/change-password                        viewer at-once
GET    /users                                       admin users.manage
POST   /users                                       admin users.manage
PUT    /users/<user_id>                             admin users.manage
DELETE /users/<user_id>                             admin users.manage
GET    /invitations                                 admin invitations.manage
POST   /invitations                                 admin invitations.manage
DELETE /invitations/<invitation_id>                 admin invitations.manage
GET    /me/api-keys                                 viewer
POST   /me/api-keys                                 viewer
PUT    /me/api-keys/<key_id>                        viewer
DELETE /me/api-keys/<key_id>                        viewer
GET    /api-keys                                    admin api_keys.manage
PUT    /api-keys/<key_id>                           admin api_keys.manage
DELETE /api-keys/<key_id>                           admin api_keys.manage
GET    /endpoints                                   viewer endpoints.read
POST   /endpoints                                   admin endpoints.manage
GET    /endpoints/<endpoint_id>                     viewer endpoints.read
PUT    /endpoints/<endpoint_id>                     admin endpoints.manage
PATCH  /endpoints/<endpoint_id>                     admin endpoints.manage
DELETE /endpoints/<endpoint_id>                     admin endpoints.manage
GET    /endpoints/<endpoint_id>/models              viewer endpoints.read
POST   /endpoints/<endpoint_id>/test                admin endpoints.manage
POST   /endpoints/<endpoint_id>/sync                admin endpoints.manage
POST   /endpoints/<endpoint_id>/enable              admin endpoints.manage
POST   /endpoints/<endpoint_id>/drain               admin endpoints.manage
POST   /endpoints/<endpoint_id>/disable             admin endpoints.manage
GET    /endpoints/<endpoint_id>/models/<path:model>/info viewer endpoints.read
POST   /endpoints/<endpoint_id>/models/delete       admin endpoints.manage
POST   /endpoints/<endpoint_id>/download            admin endpoints.manage
GET    /endpoints/<endpoint_id>/download/progress   viewer endpoints.read
DELETE /endpoints/<endpoint_id>/download/<uuid:task_id>  admin endpoints.manage
POST   /endpoints/<endpoint_id>/chat/completions    viewer core
GET    /requests/<request_id>/decision              viewer endpoints.read
GET    /endpoints/<endpoint_id>/logs                admin logs.read
GET    /dashboard/logs/lb                           admin logs.read
GET    /system/logging                              admin
PUT    /system/logging                              admin
POST   /benchmarks/tps                              admin
GET    /benchmarks/tps                              viewer
GET    /benchmarks/tps/<run_id>                     viewer
DELETE /benchmarks/tps/<run_id>                     admin
GET    /endpoints/<endpoint_id>/today-stats         viewer endpoints.read
GET    /endpoints/<endpoint_id>/daily-stats         viewer endpoints.read
GET    /endpoints/<endpoint_id>/model-stats         viewer endpoints.read
GET    /endpoints/<endpoint_id>/model-tps           viewer endpoints.read
GET    /dashboard/endpoints                         viewer endpoints.read
GET    /dashboard/models                            viewer endpoints.read
GET    /dashboard/stats                             viewer metrics.read
GET    /dashboard/request-history                   viewer metrics.read
GET    /dashboard/overview                          viewer metrics.read
GET    /dashboard/metrics/<endpoint_id>             viewer metrics.read
GET    /dashboard/stats/tokens                      viewer metrics.read
GET    /dashboard/stats/tokens/daily                viewer metrics.read
GET    /dashboard/stats/tokens/monthly              viewer metrics.read
GET    /dashboard/stats/latency                     viewer metrics.read
GET    /dashboard/model-stats                       viewer metrics.read
GET    /dashboard/events                            viewer
GET    /dashboard/audit-logs                        admin
GET    /dashboard/audit-logs/stats                  admin
POST   /dashboard/audit-logs/verify                 admin
GET    /dashboard/request-responses                 admin
GET    /dashboard/request-responses/<record_id>     admin
GET    /dashboard/request-responses/export          admin
GET    /dashboard/clients                           admin
GET    /dashboard/clients/timeline                  admin
GET    /dashboard/clients/models                    admin
GET    /dashboard/clients/heatmap                   admin
GET    /dashboard/clients/<path:ip>/detail          admin
GET    /dashboard/clients/<path:ip>/api-keys        admin
GET    /dashboard/settings/<key>                    admin
PUT    /dashboard/settings/<key>                    admin
"""

NOT_BUILT = ("/models", "/models/<path:rest>", "/catalog/<path:rest>", "/metrics/cloud")
"""They answer 501 to whoever would be let in."""

OTHERS = """
GET    /health                                      public
GET    /ready                                       public
GET    /setup                                       public
POST   /setup                                       public
GET    /setup.css                                   public
GET    /openapi.json                                viewer metrics.read
WS     /ws/dashboard                                viewer
GET    /metrics                                     viewer metrics.read
POST   /v1/chat/completions                         openai.inference core
POST   /v1/completions                              openai.inference core
POST   /v1/embeddings                               openai.inference core
POST   /v1/responses                                openai.inference core
GET    /v1/responses/<response_id>                  openai.inference core
DELETE /v1/responses/<response_id>                  openai.inference core
POST   /v1/responses/<response_id>/cancel           openai.inference core
GET    /v1/responses/<response_id>/input_items      openai.inference core
POST   /v1/rerank                                   openai.inference core
POST   /v1/messages                                 openai.inference core
POST   /v1/messages/count_tokens                    openai.inference core
POST   /v1/images/generations                       openai.inference core
POST   /v1/images/edits                             openai.inference core
POST   /v1/images/variations                        openai.inference core
POST   /v1/audio/speech                             openai.inference core
POST   /v1/audio/transcriptions                     openai.inference core
POST   /v1/audio/translations                       openai.inference core
GET    /v1/models                                   openai.models.read
GET    /v1/models/<path:name>                       openai.models.read
"""

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "WS")
SAFE = ("GET", "HEAD", "WS")


@dataclass(frozen=True)
class Line:
    """One route, and whom the table lets in."""

    method: str
    rule: str
    words: frozenset[str]

    @property
    def public(self) -> bool:
        return "public" in self.words

    @property
    def people(self) -> bool:
        """Whether it takes people who have logged in."""
        return bool(self.words & {"viewer", "admin"})

    @property
    def permission(self) -> str | None:
        return next((word for word in self.words if "." in word), None)

    @property
    def path(self) -> str:
        """The rule with something in place of what varies."""
        rule = self.rule.replace("<uuid:task_id>", "00000000-0000-4000-8000-000000000000")
        return rule.replace("<path:", "<").replace("<", "no-").replace(">", "")


def lines_of(text: str, prefix: str = "") -> Iterator[Line]:
    for line in text.strip().splitlines():
        method, rule, *words = line.split()
        yield Line(method, prefix + rule, frozenset(words))


def table() -> Iterator[Line]:
    yield from lines_of(OTHERS)
    for prefix in ("/api", "/v0"):
        yield from lines_of(MANAGEMENT, prefix)
        for rule in NOT_BUILT:
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
                yield Line(method, prefix + rule, frozenset({"viewer", "registry.read"}))


TABLE: Mapping[tuple[str, str], Line] = {(line.method, line.rule): line for line in table()}
RULES = sorted({rule for _, rule in TABLE})


def line_for(method: str, rule: str) -> Line | None:
    return TABLE.get(("GET" if method == "HEAD" else method, rule))


def test_the_table_has_every_route_and_no_other() -> None:
    routes = {
        (method, rule.rule)
        for rule in create_app(run_in_thread=run_inline).url_map.iter_rules()
        for method in ({"WS"} if rule.websocket else (rule.methods or set()) - {"HEAD", "OPTIONS"})
    }

    assert routes == TABLE.keys()


# -- who comes

Refusal = tuple[int, str]
"""Status and code. None of one: let in."""

Expected = Callable[[Line, str], Refusal | None]

UNKNOWN: Refusal = (401, "invalid_api_key")
NOBODY: Refusal = (401, "missing_api_key")
NO_SESSION: Refusal = (401, "invalid_session")
FORGED: Refusal = (403, "csrf_failed")
TOO_LOW: Refusal = (403, "insufficient_permissions")


def always(refusal: Refusal) -> Expected:
    return lambda line, _: None if line.public else refusal


def with_permissions(*held: str) -> Expected:
    def expected(line: Line, _: str) -> Refusal | None:
        return None if line.public or line.permission in held else TOO_LOW

    return expected


def with_token(role: str | None) -> Expected:
    """With the token of a session in a header; None: of one that has ended."""

    def expected(line: Line, _: str) -> Refusal | None:
        if line.public:
            return None
        if not line.people:
            return UNKNOWN
        if role is None:
            return NO_SESSION
        return TOO_LOW if role == "viewer" and "admin" in line.words else None

    return expected


def with_cookie(role: str | None, *, csrf: bool) -> Expected:
    def expected(line: Line, method: str) -> Refusal | None:
        if not (line.public or line.people):
            return NOBODY
        told = with_token(role)(line, method)
        if line.public or csrf or method in SAFE or told == NO_SESSION:
            return told
        return FORGED

    return expected


def with_password_due(line: Line, method: str) -> Refusal | None:
    told = with_token("admin")(line, method)
    if told is not None or line.public or "at-once" in line.words:
        return told
    return (403, "password_change_required")


Offer = Callable[[Town], Awaitable[dict[str, str]]]
"""The headers of one more request. A session may be used up by a request, so it is made anew."""


@dataclass(frozen=True)
class Comer:
    offer: Offer
    expected: Expected


def sends(**headers: str) -> Offer:
    async def offer(_: Town) -> dict[str, str]:
        await trio.lowlevel.checkpoint()
        return {name.replace("_", "-"): text for name, text in headers.items()}

    return offer


def shows(name: str, owner: str = "ann", **fields: object) -> Offer:
    """A key, which is made first."""

    async def offer(town: Town) -> dict[str, str]:
        made = key(name, owner, **fields)
        if town.accounts.keys.get(made.id) != made:
            await town.move_in(made)
        return bearer(name)

    return offer


async def shows_key_of_nobody(town: Town) -> dict[str, str]:
    if "user-gone" not in town.accounts.users:
        gone = user("gone")
        await town.move_in(gone, key("gone", "gone"))
        assert (await town("GET", "/v1/models", headers=bearer("gone"))).status == 200
        reply = await town("DELETE", "/api/users/user-gone", headers=town.by_token("ann"))
        assert reply.status == 204
    return bearer("gone")


def has_logged_in(name: str) -> Offer:
    async def offer(town: Town) -> dict[str, str]:
        await trio.lowlevel.checkpoint()
        return town.by_token(name)

    return offer


def browses(name: str, *, csrf: bool, hours_ago: float = 0) -> Offer:
    async def offer(town: Town) -> dict[str, str]:
        await trio.lowlevel.checkpoint()
        return as_browser(*town.session(name, hours_ago=hours_ago), csrf=csrf)

    return offer


async def has_logged_out(town: Town) -> dict[str, str]:
    return {"authorization": f"Bearer {await town.revoked('ann')}"}


async def had_logged_in(town: Town) -> dict[str, str]:
    await trio.lowlevel.checkpoint()
    return {"authorization": f"Bearer {town.session('ann', hours_ago=24)[0]}"}


async def has_to_change_the_password(town: Town) -> dict[str, str]:
    if "user-due" not in town.accounts.users:
        await town.move_in(user("due", Role.ADMIN, must_change_password=True))
    return town.by_token("due")


FORGED_TOKEN = jwt.encode(
    {"sub": "user-ann", "role": "admin", "aud": "llmlb:session", "iss": "llmlb", "jti": "x"},
    "another secret, as long as it has to be",
    algorithm="HS256",
)
_BOTH = (Permission.INFERENCE.value, Permission.MODELS_READ.value)

COMERS: dict[str, Comer] = {
    "nobody": Comer(sends(), always(NOBODY)),
    "an unknown key": Comer(sends(authorization="Bearer sk_" + "x" * 32), always(UNKNOWN)),
    "an unknown x-api-key": Comer(sends(x_api_key="sk_" + "x" * 32), always(UNKNOWN)),
    "an empty x-api-key": Comer(sends(x_api_key=""), always(UNKNOWN)),
    "an empty bearer": Comer(sends(authorization="Bearer "), always(UNKNOWN)),
    "a basic login": Comer(sends(authorization="Basic YW5uOmFubg=="), always(UNKNOWN)),
    "an unknown token": Comer(sends(authorization=f"Bearer {FORGED_TOKEN}"), with_token(None)),
    "an expired key": Comer(
        shows("old", expires_at=user().created_at), always((401, "expired_api_key"))
    ),
    "a disabled key": Comer(shows("off", enabled=False), always(UNKNOWN)),
    "the key of a deleted user": Comer(shows_key_of_nobody, always(UNKNOWN)),
    **{
        f"a key with {p.value}": Comer(
            shows(f"only-{p.value}", permissions=frozenset({p})), with_permissions(p.value)
        )
        for p in Permission
    },
    "a key without permissions": Comer(shows("none", permissions=frozenset()), with_permissions()),
    "a key with all": Comer(shows("all"), with_permissions(*Permission)),
    "a viewer's key with all": Comer(shows("vic-all", "vic"), with_permissions(*_BOTH)),
    "a viewer's token": Comer(has_logged_in("vic"), with_token("viewer")),
    "an admin's token": Comer(has_logged_in("ann"), with_token("admin")),
    "a viewer's cookie alone": Comer(browses("vic", csrf=False), with_cookie("viewer", csrf=False)),
    "an admin's cookie alone": Comer(browses("ann", csrf=False), with_cookie("admin", csrf=False)),
    "a viewer's page": Comer(browses("vic", csrf=True), with_cookie("viewer", csrf=True)),
    "an admin's page": Comer(browses("ann", csrf=True), with_cookie("admin", csrf=True)),
    "an expired session": Comer(had_logged_in, with_token(None)),
    "an expired cookie": Comer(
        browses("ann", csrf=True, hours_ago=24), with_cookie(None, csrf=True)
    ),
    "a revoked session": Comer(has_logged_out, with_token(None)),
    "an admin whose password is due": Comer(has_to_change_the_password, with_password_due),
}


async def answer_to(town: Town, request: Request) -> Request:
    """*request* after its answer has begun, be it a stream without an end."""
    town.served.begin(request)
    await town.served.scene.settle()
    if not request.answer:
        await trio.sleep(60)  # to look through the audit log takes its time
    request.leave()
    with trio.fail_after(100):
        await request.over.wait()
    return request


def assert_refused(reply: Request, line: Line, method: str, refusal: Refusal) -> None:
    status, code = refusal
    assert reply.status == status
    assert ("www-authenticate" in reply.headers) is (status == 401)
    assert reply.headers["x-request-id"]
    if method == "HEAD":
        return
    said = json.loads(reply.body)
    if line.rule.startswith("/v1/messages"):
        assert said["type"] == "error"
        kind = {401: "authentication_error", 403: "permission_error"}[status]
        assert said["error"].keys() == {"type", "message"}
        assert said["error"]["type"] == kind
    else:
        assert said.keys() == {"error"}
        assert said["error"]["code"] == code
        assert said["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("comer", COMERS.values(), ids=COMERS)
async def test_every_route_lets_in_whom_the_table_says_and_nobody_else(
    town: Town, comer: Comer
) -> None:
    for method, line in [
        (m, line) for m in METHODS for rule in RULES if (line := line_for(m, rule)) is not None
    ]:
        offered = await comer.offer(town)
        refusal = comer.expected(line, method)
        town.views.clear()
        if refusal is None:
            asked = town.served.request(method, line.path, b"{}", headers=offered, **STRANGER)
            reply = await answer_to(town, asked)
            assert reply.status not in (401, 403), (line, reply.body)
            assert town.views or isinstance(asked, LaneRequest)
            continue
        before, began_s = town.accounts, trio.current_time()
        # a large body is announced, and never comes
        announced = {"content-length": "100000000", "content-type": "application/json"}
        request = town.served.request(
            method, line.path, None, headers={**offered, **announced}, **STRANGER
        )
        reply = await answer_to(town, request)
        assert_refused(reply, line, method, refusal)
        assert reply.times[1] == began_s, "nobody waited for the body"
        assert "core" in line.words or not town.views
        assert town.accounts == before
        assert not town.served.scene.requests()
        assert town.served.app.body_budget.held_bytes == 0


# -- methods that a route does not take


@pytest.mark.parametrize(
    "comer", [COMERS[name] for name in ("nobody", "a key with all", "an admin's page")]
)
async def test_no_other_method_reaches_a_view(town: Town, comer: Comer) -> None:
    for rule in RULES:
        taken = {method for method, of_rule in TABLE if of_rule == rule}
        taken |= {"HEAD"} if "GET" in taken else set()
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "X"):
            if method in taken:
                continue
            path = Line(method, rule, frozenset()).path
            if any(known == path for _, known in TABLE):
                continue  # another rule has it
            headers = await comer.offer(town)
            reply = await town(method, path, b"{}", headers=headers)
            if rule == "/v1/messages/count_tokens" or reply.status != 404:
                assert reply.status == 405, (method, rule, reply.status)
                assert set(reply.headers["allow"].split(", ")) == taken
    assert not town.views


@pytest.mark.parametrize("comer", COMERS.values(), ids=COMERS)
async def test_options_is_a_method_that_no_route_takes(town: Town, comer: Comer) -> None:
    offered, before = await comer.offer(town), town.accounts
    town.views.clear()
    for rule in RULES:
        path = Line("OPTIONS", rule, frozenset()).path
        reply = await town("OPTIONS", path, b"", headers=offered)
        assert reply.status == 405
        assert not town.views
        assert not [name for name in reply.headers if name.startswith("access-control-")]
    assert town.accounts == before


# -- what headers and addresses are worth

TEMPTING = {
    "host": ("127.0.0.1", "localhost", "127.0.0.1:32768", ""),
    "x-forwarded-for": ("127.0.0.1", "::1", "127.0.0.1, 127.0.0.1"),
    "x-forwarded-host": ("localhost",),
    "x-forwarded-proto": ("https",),
    "x-forwarded-user": ("ann",),
    "x-forwarded-prefix": ("/health",),
    "forwarded": ("for=127.0.0.1;host=localhost;proto=https",),
    "x-real-ip": ("127.0.0.1",),
    "x-client-ip": ("127.0.0.1",),
    "true-client-ip": ("127.0.0.1",),
    "via": ("1.1 localhost",),
    "x-original-url": ("/health",),
    "x-rewrite-url": ("/health",),
    "x-http-method-override": ("OPTIONS", "GET"),
    "x-http-method": ("OPTIONS",),
    "x-method-override": ("OPTIONS",),
    "x-remote-user": ("ann",),
    "remote-user": ("ann",),
    "x-user": ("user-ann",),
    "x-role": ("admin",),
    "x-llmlb-admin": ("true",),
    "origin": ("http://127.0.0.1:32768", "null"),
    "referer": ("http://127.0.0.1:32768/setup",),
    "sec-fetch-site": ("same-origin", "none"),
    "upgrade": ("websocket", "h2c"),
    "x-csrf-token": ("",),
}
ONE_BY_ONE = [{name: value} for name, values in TEMPTING.items() for value in values]
ALL_AT_ONCE = {name: values[0] for name, values in TEMPTING.items()}

HERE: dict[str, Any] = dict(LOOPBACK)

PLACES: dict[str, dict[str, Any]] = {
    "another machine": STRANGER,
    "this machine": HERE,
    "no address": {"client": None, "server": None},
    "a socket": {"client": ("", 0), "server": ("/run/llmlb.sock", None)},
}

each_place = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)


@each_place
@pytest.mark.parametrize("settings", [{}, {"trusted_proxies": "0.0.0.0/0, ::/0"}], ids=str)
async def test_no_header_and_no_address_stands_for_a_credential(
    town: Town, place: dict[str, Any]
) -> None:
    guarded = [line for line in TABLE.values() if not line.public]
    few = [TABLE["GET", "/v1/models"], TABLE["POST", "/v1/messages"], TABLE["GET", "/api/users"]]
    for headers, lines in [(ALL_AT_ONCE, guarded), *((one, few) for one in ONE_BY_ONE)]:
        for line in lines:
            reply = await town(line.method, line.path, b"{}", headers=headers, **place)
            assert_refused(reply, line, line.method, NOBODY)


@each_place
async def test_no_header_makes_a_viewer_an_administrator(town: Town, place: dict[str, Any]) -> None:
    lines = [line for line in TABLE.values() if "admin" in line.words]
    for headers in (ALL_AT_ONCE, *ONE_BY_ONE):
        for line in lines if headers is ALL_AT_ONCE else lines[:3]:
            offered = {**headers, **town.by_token("vic")}
            reply = await town(line.method, line.path, b"{}", headers=offered, **place)
            assert_refused(reply, line, line.method, TOO_LOW)


@pytest.mark.parametrize("path", ["/health", "/api/endpoints"])
async def test_no_header_changes_the_method_or_the_path(town: Town, path: str) -> None:
    for headers in (ALL_AT_ONCE, *ONE_BY_ONE):
        reply = await town("DELETE", path, b"", headers={**headers, **town.by_token("ann")})
        assert (reply.status, reply.error["code"]) == (405, "method_not_allowed")


# -- before there is an administrator, and with LLMLB_AUTH=off

OPEN_TO_ALL = ("/health", "/ready", "/setup", "/setup.css")

STRANGE: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "another machine": (STRANGER, {}),
    "no address": (PLACES["no address"], {}),
    "a socket": (PLACES["a socket"], {}),
    "another machine's connection": ({**HERE, "client": ("192.168.1.7", 1)}, {}),
    "this machine by its other address": ({**HERE, "server": ("192.168.1.2", 1)}, {}),
    "a proxy that names whom it speaks for": (HERE, {"x-forwarded-for": "127.0.0.1"}),
    "a proxy that says forwarded": (HERE, {"forwarded": "for=127.0.0.1"}),
    "a proxy that says real ip": (HERE, {"x-real-ip": "127.0.0.1"}),
    "a proxy that says via": (HERE, {"via": "1.1 x"}),
    "a proxy that forwards the host": (HERE, {"x-forwarded-host": "localhost"}),
    "a page of another site": (HERE, {"origin": "http://evil.example"}),
    "a page without an origin": (HERE, {"origin": "null"}),
    "a script of another site": (HERE, {"sec-fetch-site": "cross-site"}),
    "a page whose name leads here": (HERE, {"host": "evil.example", "user-agent": "Mozilla/5.0"}),
}


@pytest.mark.parametrize("auth", ["on", "off"])
@pytest.mark.parametrize(("place", "headers"), STRANGE.values(), ids=STRANGE)
async def test_strangers_get_nothing_while_no_credential_is_needed(
    tmp_path: Path, auth: str, place: dict[str, Any], headers: dict[str, str]
) -> None:
    async with town_in(tmp_path, auth=auth) as bare:
        lines = [line for line in TABLE.values() if line.rule not in OPEN_TO_ALL]
        for line in lines if place is STRANGER else lines[::9]:
            reply = await bare(line.method, line.path, b"{}", headers=headers, **place)
            assert_refused(reply, line, line.method, (403, "setup_required"))
        for method, path in (("GET", "/nowhere"), ("DELETE", "/health"), ("OPTIONS", "/api/users")):
            reply = await bare(method, path, b"", headers=headers, **place)
            assert (reply.status, reply.error["code"]) == (403, "setup_required")


@pytest.mark.parametrize("auth", ["on", "off"])
@pytest.mark.parametrize("headers", [*ONE_BY_ONE, bearer("ann-all")], ids=str)
async def test_no_header_lets_a_stranger_in_while_no_credential_is_needed(
    tmp_path: Path, auth: str, headers: dict[str, str]
) -> None:
    async with town_in(tmp_path, auth=auth) as bare:
        for line in (TABLE["GET", "/api/endpoints"], TABLE["POST", "/v1/chat/completions"]):
            reply = await bare(line.method, line.path, b"{}", headers=headers)
            assert_refused(reply, line, line.method, (403, "setup_required"))


@pytest.mark.parametrize("auth", ["on", "off"])
async def test_this_machine_gets_what_needs_no_person_while_no_credential_is_needed(
    tmp_path: Path, auth: str
) -> None:
    async with town_in(tmp_path, auth=auth) as bare:
        for host in ("localhost:32768", "127.0.0.1:32768", "[::1]:32768", "me.localhost", "box"):
            reply = await bare("GET", "/api/endpoints", headers={"host": host}, **HERE)
            assert reply.status == 200, host
        for method, path in (("GET", "/api/users"), ("GET", "/api/me/api-keys")):
            reply = await bare(method, path, **HERE)
            assert (reply.status, reply.error["code"]) == (403, "setup_required")
        await settle_in(bare)  # as if there had been users before
        reply = await bare("GET", "/api/endpoints", **HERE)
        assert reply.status == (200 if auth == "off" else 401)
        assert (await bare("GET", "/setup", **HERE)).status == 404
