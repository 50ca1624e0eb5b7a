"""Keys and accounts: those of others, those that should be dead, and those that want to grow."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
import trio

from llmlb.accounts import VIEWER_PERMISSIONS, Invitation, KeyId, Permission, Role, UserId
from llmlb.accounts.credentials import digest_of
from llmlb.types import Api, EndpointId
from tests.fakes.accounts import EVERYTHING, PASSWORD, bearer, key, user
from tests.fakes.asgi import Request
from tests.fakes.forms import CONTENT_TYPE, form_bytes
from tests.fakes.openai import chat, finish, says
from tests.fakes.upstream import json_answer, sse_answer
from tests.security.town import STRANGER, Town

pytestmark = pytest.mark.adversary

Headers = dict[str, str]


def body_of(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


async def chats(town: Town, headers: Headers, body: bytes = chat()) -> Request:
    return await town("POST", "/v1/chat/completions", body, headers=headers)


def holder(*permissions: Permission, name: str = "holder", **fields: Any) -> Any:
    """ann's key with these permissions."""
    return key(name, "ann", permissions=frozenset(permissions), **fields)


async def at_once(town: Town, *asked: tuple[str, str, bytes, Headers]) -> list[Request]:
    """Several requests that have all come in before the first is answered."""
    requests = [
        town.served.request(method, path, body, headers=headers, **STRANGER)
        for method, path, body, headers in asked
    ]
    async with trio.open_nursery() as nursery:
        for request in requests:
            nursery.start_soon(request.run)
    return requests


# -- keys of others


@pytest.mark.parametrize("other", ["vic", "ann"])
async def test_nobody_sees_or_touches_the_keys_of_others_as_their_own(
    town: Town, other: str
) -> None:
    await town.move_in(user("sam", Role.VIEWER), key("sam-key", "sam"))
    before = town.accounts
    me = town.by_token(other)

    listed = (await town("GET", "/api/me/api-keys", headers=me)).json

    assert [k["created_by"] for k in listed["api_keys"]] == [f"user-{other}"]
    assert listed["total"] == 1
    for method, body in (("PUT", body_of(name="mine")), ("DELETE", b"")):
        answers = [
            await town(method, f"/api/me/api-keys/{key_id}", body, headers=me)
            for key_id in ("key-sam-key", "key-of-nobody")
        ]
        assert [reply.status for reply in answers] == [404, 404]
        assert answers[0].body == answers[1].body, "nobody is told which keys there are"
    assert town.accounts == before


@pytest.mark.parametrize("query", [b"owner=user-ann", b"user_id=user-ann", b"all=true", b"page=1"])
async def test_no_query_widens_the_list_of_ones_own_keys(town: Town, query: bytes) -> None:
    reply = await town("GET", "/api/me/api-keys", headers=town.by_token("vic"), query_string=query)

    assert [k["id"] for k in reply.json["api_keys"]] == ["key-vic-all"]


async def test_what_a_key_left_at_an_endpoint_is_not_there_for_another(town: Town) -> None:
    await town.move_in(key("other", "ann"))
    town.served.app.house.responses.made("resp_1", EndpointId("id-a"), "key-ann-all")
    await town.served.scene.settle()

    for method, path in (
        ("GET", "/v1/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/v1/responses/resp_1/input_items"),
    ):
        answers = [
            await town(method, path.replace("resp_1", name), headers=bearer("other"))
            for name in ("resp_1", "resp_2")
        ]
        assert [reply.status for reply in answers] == [404, 404]
        assert answers[0].body.replace(b"resp_1", b"resp_2") == answers[1].body
    body = body_of(model="tiny", input="x", previous_response_id="resp_1")
    reply = await town("POST", "/v1/responses", body, headers=bearer("other"))
    assert reply.status == 404
    assert not town.served.scene.requests()


# -- more than is asked for in a form

SNEAKED: dict[str, Any] = {
    "id": "user-ann",
    "user_id": "user-ann",
    "role": "admin",
    "is_admin": True,
    "owner": "user-ann",
    "created_by": "user-ann",
    "created_at": "2020-01-01T00:00:00Z",
    "key": "sk_" + "x" * 32,
    "key_prefix": "sk_xxxxxxx",
    "prefix": "",
    "digest": digest_of("x"),
    "password_hash": "x",
    "must_change_password": False,
    "generation": 0,
    "last_login": None,
    "last_used_at": None,
    "scopes": ["admin"],
    "permissions": [p.value for p in Permission],
    "enabled": True,
    "status": "active",
    "code": "inv_x",
    "used_by": None,
    "declared": True,
    "__proto__": {"role": "admin"},
    "$set": {"role": "admin"},
}

TAKEN: dict[str, dict[str, Any]] = {
    "POST /api/users": {"username": "eve", "role": "viewer"},
    "PUT /api/users/user-vic": {"username": "vic"},
    "POST /api/invitations": {"expires_in_hours": 1},
    "POST /api/me/api-keys": {"name": "new", "permissions": ["openai.inference"]},
    "PUT /api/me/api-keys/key-ann-all": {"name": "ann-all", "permissions": [], "enabled": True},
    "PUT /api/api-keys/key-vic-all": {"name": "vic-all", "permissions": [], "enabled": True},
    "PUT /api/auth/change-password": {"new_password": "a long one"},
    "POST /api/auth/login": {"username": "vic", "password": PASSWORD},
    "POST /api/auth/register": {"invitation_code": "x", "username": "eve", "password": PASSWORD},
    "POST /api/endpoints": {"name": "b", "base_url": "http://b.lan"},
    "PUT /api/endpoints/id-a": {"notes": "x"},
}
"""What each route takes, and so may not be sneaked in there."""


@pytest.mark.parametrize("route", TAKEN)
async def test_no_form_takes_more_than_it_is_for(town: Town, route: str) -> None:
    method, path = route.split()
    before = town.accounts
    for name, value in SNEAKED.items():
        if name in TAKEN[route] or (name == "role" and path == "/api/users/user-vic"):
            continue
        said = {k: v for k, v in TAKEN[route].items() if v != []}
        reply = await town(
            method, path, body_of(**said, **{name: value}), headers=town.by_token("ann")
        )
        assert reply.status == 400, (name, reply.body)
        assert reply.error["param"] == name
        assert town.accounts == before


@pytest.mark.parametrize("field", sorted(SNEAKED))
async def test_a_viewer_makes_keys_for_models_alone(town: Town, field: str) -> None:
    before, vic = town.accounts, town.by_token("vic")
    said = body_of(name="new", **{field: SNEAKED[field]})

    made = await town("POST", "/api/me/api-keys", said, headers=vic)
    edited = await town("PUT", "/api/me/api-keys/key-vic-all", said, headers=vic)

    assert [made.status, edited.status] == [400, 400]
    assert made.error["param"] == edited.error["param"] == field
    assert town.accounts == before


async def test_what_a_viewer_makes_is_the_viewers_own(town: Town) -> None:
    made = await town("POST", "/api/me/api-keys", body_of(name="new"), headers=town.by_token("vic"))

    found = town.accounts.keys[KeyId(made.json["id"])]
    assert (found.owner, found.permissions) == (UserId("user-vic"), VIEWER_PERMISSIONS)


@pytest.mark.parametrize(
    "field", ["permissions", "allowed_models", "requests_per_minute", "max_concurrency", "enabled"]
)
@pytest.mark.parametrize("value", [None, True, 5, ["tiny"]])
async def test_a_viewer_lifts_no_limit_that_was_set(town: Town, field: str, value: Any) -> None:
    before = town.accounts
    said = body_of(**{field: value})

    reply = await town("PUT", "/api/me/api-keys/key-vic-all", said, headers=town.by_token("vic"))

    assert reply.status == 400
    assert town.accounts == before


async def test_with_the_role_shrink_the_keys(town: Town) -> None:
    await town.move_in(user("bob", Role.ADMIN), key("bob-all", "bob"))
    assert (await town("GET", "/api/users", headers=bearer("bob-all"))).status == 200

    said = body_of(role="viewer")
    await town("PUT", "/api/users/user-bob", said, headers=town.by_token("ann"))

    assert (await town("GET", "/api/users", headers=bearer("bob-all"))).status == 403
    assert (await chats(town, bearer("bob-all"))).status == 200


async def test_no_permission_makes_a_viewers_key_more_than_a_viewers(town: Town) -> None:
    said = body_of(permissions=[p.value for p in Permission])
    reply = await town("PUT", "/api/api-keys/key-vic-all", said, headers=town.by_token("ann"))

    assert reply.status == 200
    assert (await town("GET", "/api/users", headers=bearer("vic-all"))).status == 403


# -- keys that want to grow


@pytest.mark.parametrize("held", [EVERYTHING, {Permission.API_KEYS_MANAGE}])
async def test_a_key_does_not_change_itself(town: Town, held: Iterable[Permission]) -> None:
    await town.move_in(holder(*held))
    before = town.accounts
    for said in ({"permissions": ["users.manage"]}, {"expires_at": None}, {"name": "x"}):
        reply = await town(
            "PUT", "/api/api-keys/key-holder", body_of(**said), headers=bearer("holder")
        )
        assert (reply.status, reply.error["code"]) == (403, "insufficient_permissions")
    assert town.accounts == before


@pytest.mark.parametrize("given", [p for p in Permission if p is not Permission.API_KEYS_MANAGE])
async def test_a_key_gives_no_permission_that_it_does_not_have(
    town: Town, given: Permission
) -> None:
    await town.move_in(holder(Permission.API_KEYS_MANAGE), key("other", permissions=frozenset()))
    before = town.accounts

    said = body_of(permissions=["api_keys.manage", given.value])
    reply = await town("PUT", "/api/api-keys/key-other", said, headers=bearer("holder"))

    assert (reply.status, reply.error["code"]) == (403, "insufficient_permissions")
    assert town.accounts == before


async def test_a_key_makes_no_keys(town: Town) -> None:
    for path in ("/api/me/api-keys", "/api/api-keys"):
        said = body_of(name="new", permissions=["users.manage"])
        reply = await town("POST", path, said, headers=bearer("ann-all"))
        assert reply.status in (403, 405)


ABOUT_ADMINS = [
    ("POST", "/api/users", {"username": "eve", "role": "admin"}),
    ("PUT", "/api/users/user-vic", {"role": "admin"}),
    ("PUT", "/api/users/user-bob", {"password": "a long one"}),
    ("PUT", "/api/users/user-bob", {"username": "eve"}),
    ("PUT", "/api/users/user-bob", {"role": "viewer"}),
    ("DELETE", "/api/users/user-bob", {}),
]


@pytest.mark.parametrize(("method", "path", "said"), ABOUT_ADMINS)
async def test_a_key_for_users_is_no_way_to_become_an_administrator(
    town: Town, method: str, path: str, said: dict[str, Any]
) -> None:
    await town.move_in(
        user("bob"), holder(*(EVERYTHING - {Permission.METRICS_READ})), key("all", "bob")
    )
    before = town.accounts

    reply = await town(method, path, body_of(**said), headers=bearer("holder"))

    assert (reply.status, reply.error["code"]) == (403, "insufficient_permissions")
    assert town.accounts == before
    reply = await town(method, path, body_of(**said), headers=bearer("ann-all"))
    assert reply.status < 300, "one that can do everything gains nothing by it"


async def test_a_key_for_users_sees_to_viewers(town: Town) -> None:
    await town.move_in(holder(Permission.USERS_MANAGE))
    me = bearer("holder")

    made = await town("POST", "/api/users", body_of(username="eve", role="viewer"), headers=me)
    eve = f"/api/users/{made.json['user']['id']}"

    assert (await town("PUT", eve, body_of(username="eva"), headers=me)).status == 200
    assert (await town("DELETE", eve, headers=me)).status == 204
    assert (await town("DELETE", eve, headers=me)).status == 404


# -- the end of a key


async def make_stream(town: Town) -> None:
    town.served.scene.on("a", sse_answer(says("A"), 10.0, says("B"), 10.0, says("C"), finish()))


ENDS = {
    "disabled": ("PUT", "/api/api-keys/key-sam-key", body_of(enabled=False)),
    "deleted": ("DELETE", "/api/api-keys/key-sam-key", b""),
    "deleted with its user": ("DELETE", "/api/users/user-sam", b""),
    "expired": ("PUT", "/api/api-keys/key-sam-key", body_of(expires_at="2026-03-01T12:00:00Z")),
    "without permissions": (
        "PUT",
        "/api/api-keys/key-sam-key",
        body_of(permissions=["openai.models.read"]),
    ),
}


@pytest.mark.parametrize(("method", "path", "body"), ENDS.values(), ids=ENDS)
async def test_the_end_of_a_key_counts_for_the_next_request_be_it_in_mid_stream(
    town: Town, method: str, path: str, body: bytes
) -> None:
    await town.move_in(user("sam", Role.VIEWER), key("sam-key", "sam"))
    await make_stream(town)
    stream = chat(stream=True)
    request = town.served.request(
        "POST", "/v1/chat/completions", stream, headers=bearer("sam-key"), **STRANGER
    )
    running = town.served.begin(request)
    await town.served.scene.settle()
    assert running.status == 200

    ended = await town(method, path, body, headers=town.by_token("ann"))
    assert ended.status in (200, 204), ended.body
    began_s = trio.current_time()
    for _ in range(3):
        refused = await chats(town, bearer("sam-key"), stream)
        assert refused.status in (401, 403)
    assert trio.current_time() == began_s
    assert not running.over.is_set()
    await running.over.wait()

    assert running.complete
    assert running.body.endswith(b"[DONE]\n\n"), "what was begun is ended in good order"
    assert len(town.served.scene.requests()) == 1


async def test_a_key_is_valid_until_the_instant_that_it_names(town: Town) -> None:
    end = town.clock.now + timedelta(minutes=1)
    await town.move_in(key("brief", expires_at=end))

    town.clock.pass_by(seconds=59.999)
    assert (await chats(town, bearer("brief"))).status == 200
    town.clock.pass_by(seconds=0.001)
    reply = await chats(town, bearer("brief"))
    assert (reply.status, reply.error["code"]) == (401, "expired_api_key")


async def test_a_key_is_shown_once(town: Town) -> None:
    ann = town.by_token("ann")
    said = body_of(name="new", permissions=["openai.inference", "api_keys.manage"])
    made = (await town("POST", "/api/me/api-keys", said, headers=ann)).json
    secret, rest = made["key"], made["key"].removeprefix(made["key_prefix"])
    assert len(rest) == 25

    seen = [
        (await town(method, path, body, headers=ann)).body
        for method, path, body in (
            ("GET", "/api/me/api-keys", b""),
            ("GET", "/api/api-keys", b""),
            ("PUT", f"/api/me/api-keys/{made['id']}", body_of(name="newer")),
            ("PUT", f"/api/api-keys/{made['id']}", body_of(enabled=True)),
            ("GET", "/api/users", b""),
        )
    ]
    refused = [
        (await town("POST", "/api/me/api-keys", said, headers={"x-api-key": secret})).body,
        (await town("POST", "/api/me/api-keys", body_of(name="newer"), headers=ann)).body,
        (await town("GET", "/v1/models", headers={"x-api-key": secret})).body,
    ]

    for text in (*seen, *refused, repr(town.accounts).encode(), repr(made["id"]).encode()):
        assert rest.encode() not in text
        assert digest_of(secret).encode() not in text


# -- keys for some models alone


TWICE = [
    b'{"model":"secret","model":"tiny"%b}',
    b'{"model":"tiny","model":"secret"%b}',
    b'{"MODEL":"secret","model":"tiny"%b}',
    b'{"model":"tiny","Model":"secret"%b}',
    b'{"mod\\u0065l":"secret","model":"tiny"%b}',
    b'{"\\u004d\\u006fdel":"secret","model":"tiny"%b}',
]


@pytest.mark.parametrize("text", TWICE)
@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/chat/completions", b',"messages":[{"role":"user","content":"x"}]'),
        ("/v1/completions", b',"prompt":"x"'),
        ("/v1/embeddings", b',"input":"x"'),
        ("/v1/responses", b',"input":"x"'),
        ("/v1/rerank", b',"query":"x","documents":["y"]'),
        ("/v1/messages", b',"max_tokens":5,"messages":[{"role":"user","content":"x"}]'),
    ],
)
async def test_a_second_model_does_not_slip_past_a_keys_list(
    town: Town, path: str, more: bytes, text: bytes
) -> None:
    await town.served.scene.endpoint("b", "tiny", "secret")
    await town.move_in(key("few", allowed_models=frozenset({"tiny"})))

    reply = await town("POST", path, text % more, headers=bearer("few"))

    assert reply.status in (400, 403), reply.body
    assert not town.served.scene.requests()


@pytest.mark.parametrize(
    "name", ["secret", "SECRET", "tiny ", " tiny", "tiny\x00", "tiny/../secret"]
)
async def test_a_keys_list_of_models_is_meant_to_the_letter(town: Town, name: str) -> None:
    await town.served.scene.endpoint("b", "secret")
    await town.move_in(key("few", allowed_models=frozenset({"tiny"})))

    reply = await chats(town, bearer("few"), chat(name))

    assert (reply.status, reply.error["param"]) == (403, "model")
    listed = await town("GET", "/v1/models", headers=bearer("few"))
    assert [model["id"] for model in listed.json["data"]] == ["tiny"]
    shown = await town("GET", f"/v1/models/{name.strip()}", headers=bearer("few"))
    assert shown.status == (404 if name.strip() != "tiny" else 200)
    assert not town.served.scene.requests()


async def test_a_form_with_two_models_reaches_the_endpoint_with_one(town: Town) -> None:
    await town.served.scene.endpoint("b", "whisper-tiny", "whisper-secret")
    await town.move_in(key("few", allowed_models=frozenset({"whisper-tiny"})))
    for names, status in (
        (("whisper-tiny", "whisper-secret"), 200),
        (("whisper-secret", "whisper-tiny"), 403),
    ):
        town.served.scene.on(
            "b",
            json_answer({"text": "x"}),
            Api.TRANSCRIPTION,
        )
        fields = [("model", name) for name in names]
        body = form_bytes([*fields, ("file", ("a.wav", "audio/wav", b"RIFF"))])
        headers = {**bearer("few"), "content-type": CONTENT_TYPE}
        reply = await town("POST", "/v1/audio/transcriptions", body, headers=headers)
        assert reply.status == status, reply.body
    [call] = town.served.scene.requests("b")
    assert call.body is not None
    assert b"whisper-secret" not in call.body


# -- accounts


async def test_who_has_to_change_the_password_can_do_nothing_else(town: Town) -> None:
    said = body_of(username="new", role="admin")
    made = (await town("POST", "/api/users", said, headers=town.by_token("ann"))).json
    token = (await town.log_in("new", made["generated_password"])).json["token"]
    me = {"authorization": f"Bearer {token}"}
    for method, path in (
        ("GET", "/api/users"),
        ("GET", "/api/endpoints"),
        ("POST", "/api/me/api-keys"),
    ):
        reply = await town(method, path, headers=me)
        assert (reply.status, reply.error["code"]) == (403, "password_change_required")
    for short in ("", "short", "x" * 2000, None, 12345678):
        reply = await town(
            "PUT", "/api/auth/change-password", body_of(new_password=short), headers=me
        )
        assert reply.status == 400
    changed = body_of(new_password="a long one")
    assert (await town("PUT", "/api/auth/change-password", changed, headers=me)).status == 200

    assert (await town("GET", "/api/users", headers=me)).status == 401
    assert (await town.log_in("new", made["generated_password"])).status == 401
    token = (await town.log_in("new", "a long one")).json["token"]
    reply = await town("GET", "/api/users", headers={"authorization": f"Bearer {token}"})
    assert reply.status == 200


async def invited(town: Town, code: str = "inv_x", **fields: Any) -> Invitation:
    fields.setdefault("expires_at", town.clock.now + timedelta(hours=1))
    invitation = Invitation("inv-1", digest_of(code), UserId("user-ann"), town.clock.now, **fields)
    await town.move_in(invitation)
    return invitation


def registration(name: str, code: str = "inv_x") -> bytes:
    return body_of(invitation_code=code, username=name, password=PASSWORD)


async def test_an_invitation_makes_one_viewer(town: Town) -> None:
    await invited(town)
    taken = await town("POST", "/api/auth/register", registration("vic"))
    first = await town("POST", "/api/auth/register", registration("eve"))
    second = await town("POST", "/api/auth/register", registration("eva"))

    assert [taken.status, first.status, second.status] == [409, 201, 400]
    assert town.accounts.by_name["eve"].role is Role.VIEWER
    assert "eva" not in town.accounts.by_name


async def test_an_invitation_that_is_used_by_many_at_once_makes_one(town: Town) -> None:
    await invited(town)

    replies = await at_once(
        town, *(("POST", "/api/auth/register", registration(f"eve{i}"), {}) for i in range(6))
    )

    assert sorted(reply.status for reply in replies) == [201, 400, 400, 400, 400, 400]
    assert len(town.accounts.users) == 3


async def test_a_name_that_is_taken_by_many_at_once_is_given_to_one(town: Town) -> None:
    said, ann = body_of(username="eve", role="viewer"), town.by_token("ann")

    replies = await at_once(town, *(("POST", "/api/users", said, ann) for _ in range(5)))

    assert sorted(reply.status for reply in replies) == [201, 409, 409, 409, 409]
    assert len(town.accounts.users) == 3


async def test_all_codes_that_do_not_work_are_alike(town: Town) -> None:
    now = town.clock.now
    answers = []
    tried: list[tuple[str, dict[str, Any]]] = [
        ("inv_x", {"expires_at": now}),
        ("inv_x", {"expires_at": now - timedelta(days=3)}),
        ("inv_other", {}),
        ("", {}),
    ]
    for code, fields in tried:
        await invited(town, **fields)
        answers.append(await town("POST", "/api/auth/register", registration("eve", code)))
    await invited(town)
    await town("DELETE", "/api/invitations/inv-1", headers=town.by_token("ann"))
    answers.append(await town("POST", "/api/auth/register", registration("eve")))

    assert {(reply.status, reply.body) for reply in answers} == {(400, answers[0].body)}
    assert "eve" not in town.accounts.by_name


LAST = [
    ("DELETE", "/api/users/user-ann", b""),
    ("PUT", "/api/users/user-ann", body_of(role="viewer")),
]


@pytest.mark.parametrize(("method", "path", "body"), LAST)
@pytest.mark.parametrize("by", ["session", "key"])
async def test_the_last_administrator_stays(
    town: Town, method: str, path: str, body: bytes, by: str
) -> None:
    me = town.by_token("ann") if by == "session" else bearer("ann-all")

    reply = await town(method, path, body, headers=me)

    assert (reply.status, reply.error["code"]) == (400, "last_admin")
    assert [admin.username for admin in town.accounts.admins] == ["ann"]


@pytest.mark.parametrize("first", LAST, ids=["deletes", "demotes"])
@pytest.mark.parametrize("second", LAST, ids=["deletes", "demotes"])
async def test_of_the_last_two_administrators_who_remove_each_other_one_stays(
    town: Town, first: tuple[str, str, bytes], second: tuple[str, str, bytes]
) -> None:
    await town.new_admin("bob")
    ann, bob = town.by_token("ann"), town.by_token("bob")
    method, path, body = second

    replies = await at_once(town, (*first, bob), (method, path.replace("ann", "bob"), body, ann))

    assert len(town.accounts.admins) == 1
    assert sorted(reply.status < 300 for reply in replies) == [False, True]


async def test_of_many_administrators_who_leave_at_once_one_stays(town: Town) -> None:
    names = [f"bob{i}" for i in range(5)]
    for name in names:
        await town.new_admin(name)
    me = town.by_token("ann")

    replies = await at_once(
        town, *(("DELETE", f"/api/users/user-{name}", b"", me) for name in [*names, "ann"])
    )

    assert len(town.accounts.admins) == 1
    assert sum(reply.status == 204 for reply in replies) == 5
