"""Who is served at all: ids, loops, and the machine itself, for every face."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.errors import HeadersTooLarge, InvalidRequest, LoopDetected, SetupRequired
from llmlb.http.policy import (
    refuse_large_head,
    refuse_loops,
    refuse_strangers,
    refuse_two_lengths,
    request_id_of,
)

LOCAL = "127.0.0.1"


@given(given_id=st.text() | st.from_regex(r"[A-Za-z0-9._:+/=-]{1,140}"))
def test_an_id_is_the_clients_only_if_it_is_a_sane_token(given_id: str) -> None:
    used = request_id_of({"x-request-id": given_id})

    assert 1 <= len(used) <= 128
    assert used.isascii()
    assert used.isprintable()
    assert " " not in used
    sane = 1 <= len(given_id) <= 128 and all(
        c.isascii() and (c.isalnum() or c in "._:+/=-") for c in given_id
    )
    assert (used == given_id) == sane


def test_without_an_id_each_request_gets_its_own() -> None:
    assert request_id_of({}) != request_id_of({})


@given(peer=st.ip_addresses(), local=st.ip_addresses())
def test_both_ends_have_to_be_loopback(peer: object, local: object) -> None:
    loopback = all(ipaddress.ip_address(str(a)).is_loopback for a in (peer, local))
    mapped = any("ffff" in str(a) for a in (peer, local))
    try:
        refuse_strangers(str(local), str(peer), {})
    except SetupRequired:
        assert not loopback
    else:
        assert loopback or mapped


@given(text=st.text())
def test_an_address_that_is_none_is_a_strangers(text: str) -> None:
    try:
        refuse_strangers(LOCAL, text, {})
    except SetupRequired:
        return
    assert ipaddress.ip_address(text.partition("%")[0]).version in (4, 6)


@pytest.mark.parametrize(
    "header",
    [
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-real-ip",
        "via",
    ],
)
def test_whoever_was_forwarded_is_a_stranger(header: str) -> None:
    refuse_strangers(LOCAL, LOCAL, {})
    with pytest.raises(SetupRequired):
        refuse_strangers(LOCAL, LOCAL, {header: ""})


def test_a_head_may_take_32_kib_and_no_more() -> None:
    room = 32 * 1024 - len("/x-a: \r\n")
    refuse_large_head(b"/", [(b"x-a", b"x" * room)])
    for target, headers in [
        (b"/", [(b"x-a", b"x" * (room + 1))]),
        (b"/" * (32 * 1024 + 1), []),
        (b"/x", [(b"x-a", b"x" * room)]),
        (b"/", [(f"x-{i}".encode(), b"x" * 100) for i in range(400)]),
        (b"/", [(b"x-a-name-of-some-length", b"x")] * 1200),
    ]:
        with pytest.raises(HeadersTooLarge):
            refuse_large_head(target, headers)


@pytest.mark.parametrize(
    ("chain", "loop"),
    [
        ("", False),
        ("other", False),
        ("me", True),
        ("other, me", True),
        ("me,other", True),
        (" me ", True),
        ("me2", False),
        ("ME", False),
        (",,", False),
    ],
)
def test_a_loop_is_seen_anywhere_in_the_chain(chain: str, loop: bool) -> None:
    headers = {"x-llmlb-instance": chain}
    if loop:
        with pytest.raises(LoopDetected):
            refuse_loops(headers, "me")
    else:
        refuse_loops(headers, "me")


def test_without_a_chain_there_is_no_loop() -> None:
    refuse_loops({}, "me")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://localhost.evil.example:32768"},
        {"origin": "http://[not-an-address"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_a_page_of_another_site_is_a_stranger(headers: dict[str, str]) -> None:
    with pytest.raises(SetupRequired):
        refuse_strangers(LOCAL, LOCAL, headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://localhost:3000", "sec-fetch-site": "same-site"},
        {"origin": "http://127.0.0.1:32768", "sec-fetch-site": "same-origin"},
        {"origin": "http://[::1]:8080"},
        {"sec-fetch-site": "none"},
    ],
)
def test_a_page_of_this_machine_is_served(headers: dict[str, str]) -> None:
    refuse_strangers(LOCAL, LOCAL, headers)


def test_a_body_whose_length_is_told_in_two_ways_is_refused() -> None:
    refuse_two_lengths({"content-length": "3"})
    refuse_two_lengths({"transfer-encoding": "chunked"})
    with pytest.raises(InvalidRequest):
        refuse_two_lengths({"content-length": "3", "transfer-encoding": "chunked"})


BROWSER = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/150.0"}


@pytest.mark.parametrize(
    ("host", "let_in"),
    [
        ("localhost:32768", True),
        ("127.0.0.1:32768", True),
        ("[::1]:32768", True),
        ("rebound.evil.example:32768", False),
        ("192.168.1.7", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_a_page_whose_name_leads_here_is_of_another_site(host: str, let_in: bool) -> None:
    refuse_strangers(LOCAL, LOCAL, {"host": host})  # curl may call us what it likes
    if let_in:
        refuse_strangers(LOCAL, LOCAL, {"host": host, **BROWSER})
    else:
        with pytest.raises(SetupRequired):
            refuse_strangers(LOCAL, LOCAL, {"host": host, **BROWSER})
