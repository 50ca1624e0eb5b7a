"""Whose word on where a client is gets believed."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.http.access.proxies import came_securely, client_address
from llmlb.http.downstream import Whence

PROXIES = (ip_network("10.0.0.0/8"), ip_network("127.0.0.1"), ip_network("fd00::/8"))

ADDRESSES = st.ip_addresses().map(str)
SAID = st.dictionaries(
    st.sampled_from(["x-forwarded-for", "x-forwarded-proto", "x-real-ip", "forwarded", "host"]),
    st.text() | ADDRESSES | st.lists(ADDRESSES).map(", ".join) | st.sampled_from(["https", "http"]),
)


def from_(peer: str | None, *, secure: bool = False) -> Whence:
    return Whence("127.0.0.1", peer, secure)


@given(st.ip_addresses().filter(lambda a: not any(a in n for n in PROXIES)), SAID, st.booleans())
def test_what_an_untrusted_peer_says_never_matters(
    peer: object, said: dict[str, str], secure: bool
) -> None:
    whence = from_(str(peer), secure=secure)
    mapped = getattr(peer, "ipv4_mapped", None)
    if mapped is None:
        assert client_address(whence, said, PROXIES) == str(peer)
        assert came_securely(whence, said, PROXIES) == secure
    assert client_address(whence, said, ()) == str(mapped or peer)
    assert came_securely(whence, said, ()) == secure


@given(SAID)
def test_without_a_peer_nobody_is_believed(said: dict[str, str]) -> None:
    """Over a Unix socket, or where a server does not tell."""
    for nobody in (None, "", "unix:", "testclient"):
        assert client_address(from_(nobody), said, PROXIES) is None
        assert not came_securely(from_(nobody), said, PROXIES)


@given(ADDRESSES | st.text(), st.lists(ADDRESSES | st.text(), max_size=5))
def test_what_stands_before_the_first_stranger_from_the_end_never_matters(
    made_up: str, chain: list[str]
) -> None:
    header = ", ".join([*chain, made_up, "203.0.113.7", "10.1.1.1"])
    assert client_address(from_("10.0.0.1"), {"x-forwarded-for": header}, PROXIES) == "203.0.113.7"


@given(st.text() | st.lists(ADDRESSES | st.text()).map(", ".join))
def test_the_answer_is_always_an_address(header: str) -> None:
    found = client_address(from_("10.0.0.1"), {"x-forwarded-for": header}, PROXIES)
    assert found is not None
    ip_address(found)


@pytest.mark.parametrize(
    ("peer", "header", "client"),
    [
        # nobody in between, and whoever comes directly may say what he likes
        ("203.0.113.7", None, "203.0.113.7"),
        ("203.0.113.7", "127.0.0.1", "203.0.113.7"),
        ("203.0.113.7", "10.0.0.1", "203.0.113.7"),
        # one proxy
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "  203.0.113.7  ", "203.0.113.7"),
        # a client that spoofs: the proxy adds the truth behind it
        ("10.0.0.1", "127.0.0.1, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "8.8.8.8, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.2, 203.0.113.7", "203.0.113.7"),
        # proxies in a row
        ("10.0.0.1", "203.0.113.7, 10.0.0.2, fd00::1", "203.0.113.7"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
        # all of them are known: the one at the far end asks for itself
        ("10.0.0.1", "10.0.0.9, 10.0.0.2", "10.0.0.9"),
        # what is no address ends it: what stands before it is nobody's word
        ("10.0.0.1", "203.0.113.7, unknown", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.7, unknown, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "203.0.113.7,", "10.0.0.1"),
        ("10.0.0.1", "localhost", "10.0.0.1"),
        ("10.0.0.1", "999.1.1.1", "10.0.0.1"),
        # with ports, in brackets, with zones, IPv4 written as IPv6
        ("10.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
        ("10.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("10.0.0.1", "[2001:db8::7]", "2001:db8::7"),
        ("10.0.0.1", "2001:DB8::7", "2001:db8::7"),
        ("10.0.0.1", "fe80::1%eth0", "fe80::1"),
        ("10.0.0.1", "::ffff:203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7, ::ffff:10.0.0.2", "203.0.113.7"),
        ("::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "10.0.0.1", "203.0.113.7"),
        ("fd00::5", "203.0.113.7", "203.0.113.7"),
        ("fe80::1%eth0", "203.0.113.7", "fe80::1"),
    ],
)
def test_where_a_client_is(peer: str, header: str | None, client: str) -> None:
    headers = {} if header is None else {"x-forwarded-for": header}
    assert client_address(from_(peer), headers, PROXIES) == client


@pytest.mark.parametrize(
    ("peer", "said", "secure", "came"),
    [
        ("10.0.0.1", "https", False, True),
        ("10.0.0.1", "HTTPS ", False, True),
        ("10.0.0.1", "http, https", False, True),
        ("10.0.0.1", "https, http", False, False),
        ("10.0.0.1", "http", True, False),
        ("10.0.0.1", None, True, True),
        ("10.0.0.1", "", True, True),
        ("10.0.0.1", "wss?", False, False),
        ("203.0.113.7", "https", False, False),
        ("203.0.113.7", "http", True, True),
        (None, "https", False, False),
    ],
)
def test_whether_a_client_speaks_tls(
    peer: str | None, said: str | None, secure: bool, came: bool
) -> None:
    headers = {} if said is None else {"x-forwarded-proto": said}
    assert came_securely(from_(peer, secure=secure), headers, PROXIES) == came
