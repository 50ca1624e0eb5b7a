"""Which pages of other origins may call, and what a browser is told of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.errors import OriginNotAllowed
from llmlb.http.cors import MAX_AGE_S, METHODS, Cors

CHAT, LOCAL = "https://chat.example", "http://localhost:3000"
LISTED = Cors(frozenset({CHAT, LOCAL}))
ANYBODY = Cors(frozenset({"*"}))

NEARLY = (
    "",
    "null",
    "*",
    "https://chat.example/",
    "https://chat.example:443",
    "http://chat.example",
    "https://CHAT.example",
    "https://chat.example.evil.example",
    "https://evil.example?https://chat.example",
    "https://evilchat.example",
    " https://chat.example",
    "https://chat.example, https://chat.example",
    f"{CHAT} {LOCAL}",
    "https://chat.example\r\nx: y",
)


@given(origin=st.text() | st.sampled_from(NEARLY) | st.sampled_from([CHAT, LOCAL]))
def test_an_origin_is_allowed_only_if_it_is_exactly_listed(origin: str) -> None:
    listed = origin in (CHAT, LOCAL)
    assert LISTED.allows(origin) == LISTED.names(origin) == listed
    assert not Cors().allows(origin)
    if listed:
        assert dict(LISTED.for_answer(origin, ()))["access-control-allow-origin"] == origin


def test_a_star_lets_any_page_call_and_trusts_none() -> None:
    for origin in (CHAT, "null", "*", "https://evil.example"):
        assert ANYBODY.allows(origin)
        assert not ANYBODY.names(origin)
        assert dict(ANYBODY.for_answer(origin, ()))["access-control-allow-origin"] == "*"
    assert not ANYBODY.allows(None)


@pytest.mark.parametrize("cors", [LISTED, ANYBODY])
def test_credentials_are_never_allowed(cors: Cors) -> None:
    told = (*cors.preflight({"origin": CHAT}), *cors.for_answer(CHAT, ("x-request-id",)))
    assert "access-control-allow-credentials" not in dict(told)


def test_a_preflight_tells_what_may_be_sent_and_how_long_that_holds() -> None:
    asked = "authorization,Content-Type, x-stainless-os ,openai-beta,cookie,x-forwarded-for"
    told = dict(LISTED.preflight({"origin": CHAT, "access-control-request-headers": asked}))
    assert told == {
        "access-control-allow-origin": CHAT,
        "access-control-allow-methods": METHODS,
        "access-control-allow-headers": "authorization, content-type, x-stainless-os, openai-beta",
        "access-control-max-age": str(MAX_AGE_S),
        "vary": "origin",
    }


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "content-type",
        "x-api-key",
        "anthropic-version",
        "anthropic-beta",
        "anthropic-dangerous-direct-browser-access",
        "x-request-id",
        "x-llmlb-timeout-s",
        "x-stainless-retry-count",
        "openai-organization",
        "user-agent",
    ],
)
def test_what_sdks_send_from_a_browser_may_be_sent(name: str) -> None:
    told = dict(LISTED.preflight({"origin": CHAT, "access-control-request-headers": name}))
    assert told["access-control-allow-headers"] == name


@given(st.text(max_size=200) | st.lists(st.sampled_from(["x-stainless-a\r\nb", "*", "cookie"])))
def test_nothing_of_what_was_asked_comes_back_but_sane_names(asked: str | list[str]) -> None:
    text = asked if isinstance(asked, str) else ",".join(asked)
    told = dict(LISTED.preflight({"origin": CHAT, "access-control-request-headers": text}))
    names = told.get("access-control-allow-headers", "x-request-id").split(", ")
    assert all(name.isascii() and name.replace("-", "").isalnum() for name in names)
    assert "cookie" not in names


def test_so_many_names_come_back_and_no_more() -> None:
    asked = ",".join(f"x-stainless-{n}" for n in range(1000))
    told = dict(LISTED.preflight({"origin": CHAT, "access-control-request-headers": asked}))
    assert told["access-control-allow-headers"].count(",") == 63


@pytest.mark.parametrize("headers", [{}, {"origin": "https://evil.example"}, {"origin": "null"}])
def test_a_preflight_of_any_other_origin_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(OriginNotAllowed, match="LLMLB_CORS_ORIGINS"):
        LISTED.preflight(headers)


def test_a_page_may_read_the_headers_that_are_meant_for_clients() -> None:
    names = ("content-type", "x-request-id", "x-llmlb-model", "x-ratelimit-reset-tokens", "server")
    told = dict(LISTED.for_answer(CHAT, (*names, "x-queue-status", "retry-after")))
    assert told["access-control-expose-headers"] == (
        "x-request-id, x-llmlb-model, x-ratelimit-reset-tokens, x-queue-status, retry-after"
    )
    assert "access-control-expose-headers" not in dict(LISTED.for_answer(CHAT, ("server",)))
