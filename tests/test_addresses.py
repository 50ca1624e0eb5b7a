"""Which addresses are public, whatever they are written as."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.addresses import literal, may_be_fetched_from, refuse_no_endpoint, why_no_endpoint

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    "address",
    ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::808:808"],
)
def test_public_addresses(address: str) -> None:
    assert may_be_fetched_from(address)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1",
     "169.254.169.254", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
     "198.18.0.1", "192.0.2.1", "203.0.113.9",
     "::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd12::1", "ff02::1",
     "168.63.129.16", "::ffff:168.63.129.16",
     "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
     "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1",
     "2002:7f00:1::", "2002:c0a8:101::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
     "", "localhost", "1.2.3", "127.0.0.1/8"],
)  # fmt: skip
def test_all_others_and_what_is_no_address(address: str) -> None:
    assert not may_be_fetched_from(address)


def test_the_operator_s_networks_are_allowed_too_also_in_their_ipv6_form() -> None:
    assert may_be_fetched_from("127.0.0.1", LOOPBACK)
    assert may_be_fetched_from("::ffff:127.0.0.1", LOOPBACK)
    assert may_be_fetched_from("fd00::5", LOOPBACK)
    assert not may_be_fetched_from("::1", LOOPBACK)
    assert not may_be_fetched_from("10.0.0.1", LOOPBACK)


def disguises(plain: IPv4Address) -> list[IPv6Address]:
    """Mapped, NAT64, 6to4."""
    number = int(plain)
    return [
        IPv6Address((0xFFFF << 32) | number),
        IPv6Address((0x64FF9B << 96) | number),
        IPv6Address((0x2002 << 112) | number << 80),
    ]


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_every_disguise(plain: IPv4Address) -> None:
    for disguise in disguises(plain):
        assert may_be_fetched_from(str(disguise)) == may_be_fetched_from(str(plain))
        assert why_no_endpoint(disguise) == why_no_endpoint(plain)


@given(st.ip_addresses())
def test_nothing_private_is_ever_public(address: IPv4Address | IPv6Address) -> None:
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        if isinstance(address, IPv6Address) and (address.ipv4_mapped or address.sixtofour):
            return
        assert not may_be_fetched_from(str(address))


# --- endpoints


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("169.254.0.0", "link-local"), ("169.254.169.254", "clouds keep their metadata"),
        ("169.254.170.23", "link-local"), ("169.254.255.255", "link-local"),
        ("::ffff:169.254.169.254", "link-local"), ("2002:a9fe:a9fe::", "link-local"),
        ("2002:a9fe:a9fe::1", "link-local"), ("64:ff9b::a9fe:a9fe", "link-local"),
        ("fe80::1", "link-local"), ("fe80::1%eth0", "link-local"), ("febf:ffff::1", "link-local"),
        ("fd00:ec2::254", "own services"), ("fd00:ec2::23", "own services"),
        ("fd20:ce::254", "own services"), ("100.100.100.200", "own services"),
        ("168.63.129.16", "own services"), ("192.0.0.192", "own services"),
        ("0.0.0.0", "no address of a server"), ("0.1.2.3", "no address of a server"),
        ("::", "no address of a server"), ("::ffff:0.0.0.0", "no address of a server"),
        ("::169.254.169.254", "no address of a server"), ("::127.0.0.1", "no address of a server"),
        ("224.0.0.1", "multicast"), ("239.255.255.250", "multicast"), ("ff02::1", "multicast"),
        ("255.255.255.255", "broadcast"), ("64:ff9b::ffff:ffff", "broadcast"),
    ],
)  # fmt: skip
def test_where_no_endpoint_can_be(address: str, what: str) -> None:
    assert what in (why_no_endpoint(ip_address(address)) or "")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.9.9.9", "::1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1",
     "100.100.100.201", "169.253.255.255", "169.255.0.0", "1.0.0.0", "223.255.255.255",
     "fc00::1", "fd00:ec3::254", "fec0::1", "93.184.216.34", "2606:2800:220:1::1",
     "::ffff:127.0.0.1", "64:ff9b::c0a8:101", "240.0.0.1"],
)  # fmt: skip
def test_private_networks_are_where_endpoints_are_at_home(address: str) -> None:
    assert why_no_endpoint(ip_address(address)) is None


@pytest.mark.parametrize(
    "base_url",
    ["http://169.254.169.254", "https://169.254.169.254:8443/x", "http://[fe80::1]:1",
     "http://[::ffff:169.254.169.254]", "http://0xa9fea9fe", "http://[::]:32768", "http://0.0.0.0"],
)  # fmt: skip
def test_a_url_with_such_an_address_is_refused_with_the_reason(base_url: str) -> None:
    with pytest.raises(ValueError, match=r"^The URL may not lead to \S+: that is .+\.$"):
        refuse_no_endpoint(base_url)


@pytest.mark.parametrize(
    "base_url", ["http://gpu.lan", "https://10.0.0.1/v1x", "http://[::1]:8000"]
)
def test_any_other_url_stays_as_it_is(base_url: str) -> None:
    assert refuse_no_endpoint(base_url) == base_url


@pytest.mark.parametrize("spelling", ["127.0.0.1", "0x7f.1", "2130706433", "017700000001"])
def test_an_address_is_read_in_every_spelling(spelling: str) -> None:
    assert literal(spelling) == IPv4Address("127.0.0.1")


@given(st.text(max_size=20))
def test_any_text_is_an_address_or_none(text: str) -> None:
    literal(text)
