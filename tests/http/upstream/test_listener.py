"""Which addresses lead back to the process that would connect to them."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, ip_address

import pytest

from llmlb.addresses import Address
from llmlb.http.upstream.listener import Listener, is_of_this_machine, refuse_own
from llmlb.http.upstream.rules import for_endpoints, for_strangers

PORT = 32768


def ours(address: Address) -> bool:
    return str(address) in {"127.0.0.1", "::1", "192.168.1.5"}


@pytest.mark.parametrize(
    ("host", "own", "others"),
    [
        ("127.0.0.1", ["127.0.0.1", "::ffff:127.0.0.1"], ["127.0.0.2", "::1", "192.168.1.5"]),
        ("192.168.1.5", ["192.168.1.5", "64:ff9b::c0a8:105"], ["127.0.0.1", "192.168.1.6"]),
        ("::1", ["::1"], ["127.0.0.1", "fd00::1"]),
        ("0.0.0.0", ["127.0.0.1", "::1", "192.168.1.5", "::ffff:192.168.1.5"], ["192.168.1.6"]),
        ("::", ["127.0.0.1", "::1", "192.168.1.5"], ["192.168.1.6", "fd00::1"]),
    ],
)
def test_where_a_listener_is_and_where_it_is_not(
    host: str, own: list[str], others: list[str]
) -> None:
    listener = Listener(host, PORT, ours)
    for text in own:
        assert listener.is_at(ip_address(text), PORT), text
        assert not listener.is_at(ip_address(text), PORT + 1), text
    for text in others:
        assert not listener.is_at(ip_address(text), PORT), text


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:32768", "http://0x7f000001:32768/x"])
def test_a_url_that_spells_it_is_refused(base_url: str) -> None:
    with pytest.raises(ValueError, match=r"127\.0\.0\.1, port 32768: llmlb itself is there\.$"):
        refuse_own(base_url, Listener("0.0.0.0", PORT, ours))


def test_the_default_ports_count_as_well() -> None:
    for url, port in (("http://127.0.0.1", 80), ("https://127.0.0.1", 443)):
        with pytest.raises(ValueError, match=f"port {port}"):
            refuse_own(url, Listener("127.0.0.1", port, ours))


@pytest.mark.parametrize(
    "base_url", ["http://127.0.0.1:11434", "http://localhost:32768", "http://10.0.0.1:32768"]
)
def test_any_other_url_is_welcome(base_url: str) -> None:
    refuse_own(base_url, Listener("0.0.0.0", PORT, ours))
    refuse_own(base_url, None)


def test_both_rules_know_where_we_listen() -> None:
    public = Listener("0.0.0.0", PORT, lambda address: address == IPv4Address("93.184.216.34"))
    for why_not in (for_endpoints(public), for_strangers((), public)):
        assert why_not("93.184.216.34", PORT) == "where llmlb itself listens"
        assert why_not("93.184.216.34", 80) is None
    assert for_strangers()("10.0.0.1", 80) == "not public"
    assert for_endpoints()("10.0.0.1", 80) is None


def test_loopback_is_of_this_machine_and_a_test_network_is_not() -> None:
    for text in ("127.0.0.1", "127.1.2.3", "::1"):
        assert is_of_this_machine(ip_address(text))
    for text in ("203.0.113.7", "2001:db8::7", "255.255.255.255"):
        assert not is_of_this_machine(ip_address(text))


def test_the_address_that_this_machine_talks_from_is_its_own() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.7", 9))
        except OSError:
            pytest.skip("this machine has no network")
        own = ip_address(probe.getsockname()[0])
    assert is_of_this_machine(own)
    assert Listener("0.0.0.0", PORT).is_at(own, PORT)
