"""Which headers every answer gets, whatever face it goes through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.errors import OriginNotAllowed
from llmlb.http.cors import Cors
from llmlb.http.response_policy import OF_API, OF_PAGES, ResponsePolicy
from llmlb.settings import Settings

CHAT = "https://chat.example"
OFF = ResponsePolicy()
ON = ResponsePolicy(Cors(frozenset({CHAT})))
ANYBODY = ResponsePolicy(Cors(frozenset({"*"})))

MANAGED = ("/api/endpoints", "/v0/endpoints", "/health", "/", "", "/v1", "/v1x/models", "/api/v1/x")
PATHS = st.sampled_from(["/v1/models", "/v1/chat/completions", *MANAGED]) | st.text()


def directives(headers: tuple[tuple[str, str], ...]) -> dict[str, str]:
    policy = dict(headers)["content-security-policy"]
    parts = [part.strip().partition(" ") for part in policy.split(";")]
    assert len({name for name, _, _ in parts}) == len(parts), "a second one would not count"
    return {name: sources for name, _, sources in parts}


@pytest.mark.parametrize("headers", [OF_API, OF_PAGES])
def test_no_answer_is_framed_sniffed_cached_or_used_by_other_sites(
    headers: tuple[tuple[str, str], ...],
) -> None:
    said = dict(headers)
    assert len(said) == len(headers)
    assert said["x-content-type-options"] == "nosniff"
    # a form of ours would come from the origin `null` with `no-referrer`
    assert said["referrer-policy"] == ("same-origin" if headers is OF_PAGES else "no-referrer")
    assert said["x-frame-options"] == "DENY"
    assert said["cross-origin-resource-policy"] == "same-origin"
    assert said["cache-control"] == "no-store"
    allowed = directives(headers)
    assert allowed["default-src"] == allowed["base-uri"] == allowed["frame-ancestors"] == "'none'"
    assert "form-action" in allowed


def test_an_answer_that_is_no_page_may_do_nothing() -> None:
    assert set(directives(OF_API).values()) == {"'none'"}


def test_a_page_runs_only_what_the_balancer_serves_itself() -> None:
    allowed = directives(OF_PAGES)
    assert allowed["script-src"] == allowed["style-src"] == allowed["connect-src"] == "'self'"
    assert allowed["form-action"] == "'self'"
    assert allowed["img-src"] == "'self' data:"
    assert "unsafe" not in dict(OF_PAGES)["content-security-policy"]
    assert OFF.headers_for("/", None, {}, page=True) == OF_PAGES
    assert ON.headers_for("/v1/x", CHAT, {}, page=True) == OF_PAGES


def test_what_a_route_has_said_stays_and_is_not_said_twice() -> None:
    said = {"cache-control": "max-age=60", "content-type": "application/json"}
    added = OFF.headers_for("/api/endpoints", None, said)
    assert added == tuple(pair for pair in OF_API if pair[0] != "cache-control")


def test_without_cors_nothing_is_made_anew() -> None:
    assert OFF.headers_for("/v1/models", CHAT, {}) == OF_API


@given(policy=st.sampled_from([OFF, ON, ANYBODY]), path=PATHS, origin=st.none() | st.text())
def test_access_is_granted_only_to_an_origin_that_is_exactly_listed(
    policy: ResponsePolicy, path: str, origin: str | None
) -> None:
    for asked in (origin, CHAT):
        told = dict(policy.headers_for(path, asked, {}))
        granted = told.get("access-control-allow-origin")
        if policy is ANYBODY and path.startswith("/v1/") and asked is not None:
            assert granted == "*"
        elif policy is ON and path.startswith("/v1/") and asked == CHAT:
            assert granted == CHAT
        else:
            assert granted is None
            assert "access-control-expose-headers" not in told
        assert (told.get("vary") == "origin") == (policy is not OFF and path.startswith("/v1/"))
        assert ("cross-origin-resource-policy" in told) == (granted is None)
        assert dict(OF_API).items() - told.items() <= {
            ("cross-origin-resource-policy", "same-origin")
        }


def asks_first(origin: str = CHAT, method: str = "POST") -> dict[str, str]:
    return {"origin": origin, "access-control-request-method": method}


def test_a_preflight_is_answered_without_a_body_whatever_there_is() -> None:
    for path in ("/v1/chat/completions", "/v1/no-such-route"):
        head = ON.preflight("OPTIONS", path, asks_first())
        assert head is not None
        assert head.status == 204
        assert dict(head.headers)["access-control-allow-origin"] == CHAT


def test_headers_of_a_preflight_are_not_said_twice() -> None:
    head = ON.preflight("OPTIONS", "/v1/models", asks_first())
    assert head is not None
    added = ON.headers_for("/v1/models", CHAT, dict(head.headers))
    assert added == OF_API
    assert not dict(head.headers).keys() & dict(added).keys()


@pytest.mark.parametrize("policy", [OFF, ON, ANYBODY])
@pytest.mark.parametrize("path", MANAGED)
def test_no_page_of_another_origin_may_manage(policy: ResponsePolicy, path: str) -> None:
    with pytest.raises(OriginNotAllowed, match="/v1"):
        policy.preflight("OPTIONS", path, asks_first())
    assert not policy.invites(path, CHAT)


def test_without_cors_every_preflight_is_refused() -> None:
    with pytest.raises(OriginNotAllowed):
        OFF.preflight("OPTIONS", "/v1/models", asks_first())


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", {}),
        ("OPTIONS", {"origin": CHAT}),
        ("OPTIONS", {"access-control-request-method": "POST"}),
        ("POST", asks_first()),
        ("options", asks_first()),
    ],
)
def test_nothing_else_is_a_preflight(method: str, headers: dict[str, str]) -> None:
    assert ON.preflight(method, "/v1/models", headers) is None


def test_an_origin_that_is_named_is_invited_and_any_other_is_not() -> None:
    assert ON.invites("/v1/models", CHAT)
    assert not ON.invites("/v1/models", "https://evil.example")
    assert not ON.invites("/v1/models", None)
    assert not ANYBODY.invites("/v1/models", CHAT)
    assert not ANYBODY.invites("/v1/models", "*")


def test_the_settings_say_who_may_call() -> None:
    assert ResponsePolicy.of(Settings(cors_origins=(CHAT,))) == ON
    assert ResponsePolicy.of(Settings()) == OFF
