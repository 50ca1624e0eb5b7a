"""How origins are written in a setting, and what is refused with which words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.origins import SHOWN_CHARS, origin_of, parse_origins

LABELS = st.from_regex(r"[a-z0-9-]{1,10}", fullmatch=True)
HOSTS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
PORTS = st.integers(1, 65535).filter(lambda port: port not in (80, 443))


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://chat.example", "https://chat.example"),
        ("HTTPS://Chat.Example", "https://chat.example"),
        ("https://chat.example:443", "https://chat.example"),
        ("http://chat.example:80", "http://chat.example"),
        ("http://chat.example:443", "http://chat.example:443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://127.0.0.1:03000", "http://127.0.0.1:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("http://[0:0::1]", "http://[::1]"),
        ("https://xn--kche-0ra.example", "https://xn--kche-0ra.example"),
        ("tauri://localhost", "tauri://localhost"),
        ("chrome-extension://abcdefghij", "chrome-extension://abcdefghij"),
        ("app://obsidian.md", "app://obsidian.md"),
    ],
)
def test_an_origin_is_understood_as_a_browser_writes_it(text: str, origin: str) -> None:
    assert origin_of(text) == origin
    assert origin_of(origin) == origin


@given(scheme=st.sampled_from(["http", "https", "tauri"]), host=HOSTS, port=st.none() | PORTS)
def test_what_a_browser_writes_is_taken_as_it_is(scheme: str, host: str, port: int | None) -> None:
    origin = f"{scheme}://{host}" + (f":{port}" if port is not None else "")
    assert origin_of(origin) == origin
    assert parse_origins(f" {origin} ,, {origin.upper()}") == (origin,)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("chat.example", "with its scheme"),
        ("null", "'null'"),
        ("https://chat.example/", "what follows the host and the port, like https://chat.example"),
        ("https://chat.example/path", "what follows the host"),
        ("https://chat.example?x", "what follows the host"),
        ("https://chat.example#x", "what follows the host"),
        ("https://*.example", "no patterns"),
        ("https://küche.example", "xn--"),
        ("https://\u212aelvin.example", "xn--"),  # in lower case it would be ASCII
        ("https://user@chat.example", "scheme://host"),
        ("https://chat.example:", "scheme://host"),
        ("https://chat.example:x", "scheme://host"),
        ("https://chat.example:0", "no port 0"),
        ("https://chat.example:65536", "no port 65536"),
        ("https://chat.example:999999", "scheme://host"),
        ("https://", "scheme://host"),
        ("https://a..b", "scheme://host"),
        ("https://[::1", "scheme://host"),
        ("https://[::1::2]", "no IPv6 address"),
        ("https://a b", "scheme://host"),
        ("https://a\nb", "scheme://host"),
        ("1://a", "scheme://host"),
    ],
)
def test_what_is_no_origin_is_refused_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(hint)):
        origin_of(text)


def test_only_the_beginning_of_something_long_is_shown() -> None:
    with pytest.raises(ValueError, match="is no origin") as error:
        origin_of("x" * 10_000)
    assert len(str(error.value)) < SHOWN_CHARS + 100


def test_any_page_is_said_by_a_star_that_stands_alone() -> None:
    assert parse_origins(" * ") == ("*",)
    with pytest.raises(ValueError, match="alone"):
        parse_origins("https://chat.example, *")


@given(st.text(max_size=60))
def test_whatever_is_written_becomes_origins_or_a_sentence(text: str) -> None:
    try:
        origins = parse_origins(text)
    except ValueError:
        return
    assert isinstance(origins, tuple)
    assert all(one == "*" or origin_of(one) == one for one in origins)


def test_what_is_no_text_is_left_to_the_settings() -> None:
    assert parse_origins(("https://chat.example",)) == ("https://chat.example",)
