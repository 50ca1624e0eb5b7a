"""Which addresses are public, whatever they are written as."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.http.upstream.addresses import may_be_fetched_from

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


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_every_disguise(plain: IPv4Address) -> None:
    verdict = may_be_fetched_from(str(plain))
    number = int(plain)
    for disguise in (
        (0xFFFF << 32) | number,
        (0x64FF9B << 96) | number,
        (0x2002 << 112) | number << 80,
    ):
        assert may_be_fetched_from(str(IPv6Address(disguise))) == verdict


@given(st.ip_addresses())
def test_nothing_private_is_ever_public(address: IPv4Address | IPv6Address) -> None:
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        if isinstance(address, IPv6Address) and (address.ipv4_mapped or address.sixtofour):
            return
        assert not may_be_fetched_from(str(address))
