from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmlb.urls import normalise_base_url


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("http://localhost:11434", "http://localhost:11434"),
        ("  http://localhost:11434/ \n", "http://localhost:11434"),
        ("HTTP://LOCALHOST:8080/v1/", "http://localhost:8080"),
        ("http://gpu.lan/v1/v1//", "http://gpu.lan"),
        ("http://gpu.lan//v1", "http://gpu.lan"),
        ("http://gpu.lan:80", "http://gpu.lan"),
        ("https://gpu.lan:443/", "https://gpu.lan"),
        ("https://gpu.lan:80", "https://gpu.lan:80"),
        ("http://gpu.lan:", "http://gpu.lan"),
        ("http://gpu.lan./", "http://gpu.lan"),
        ("http://proxy.lan/ollama/v1", "http://proxy.lan/ollama"),
        ("http://proxy.lan/API/V1", "http://proxy.lan/API/V1"),
        ("http://proxy.lan/av1", "http://proxy.lan/av1"),
        ("http://proxy.lan/v1/x", "http://proxy.lan/v1/x"),
        ("http://[FE80:0:0:0:0:0:0:1]:8080/v1", "http://[fe80::1]:8080"),
        ("http://[::1]", "http://[::1]"),
        ("http://[0:0:0:0:0:ffff:1.2.3.4]", "http://[::ffff:1.2.3.4]"),
        ("http://10.0.0.1:8000", "http://10.0.0.1:8000"),
        ("http://gpu_1.lan", "http://gpu_1.lan"),
        ("http://bücher.example", "http://xn--bcher-kva.example"),
        ("http://gpu.lan/模型", "http://gpu.lan/%E6%A8%A1%E5%9E%8B"),
        ("http://gpu.lan/a%20b", "http://gpu.lan/a%20b"),
    ],
)
def test_spellings_of_one_server_become_one(given_text: str, expected: str) -> None:
    # the mapped address is spelt differently by Python 3.11 and 3.13
    got = normalise_base_url(given_text).replace("[::ffff:102:304]", "[::ffff:1.2.3.4]")
    assert got == expected


@pytest.mark.parametrize(
    ("given_text", "says"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("localhost:11434", "did you mean http://localhost:11434"),
        ("192.168.1.5", "did you mean http://192.168.1.5"),
        ("//gpu.lan", "no scheme"),
        ("ftp://gpu.lan", "http or https"),
        ("http://", "names no host"),
        ("http:///v1", "names no host"),
        ("http://:8080", "names no host"),
        ("http://me:pw@gpu.lan", "API key"),
        ("http://gpu.lan?", "query"),
        ("http://gpu.lan/?a=1", "query"),
        ("http://gpu.lan/#x", "fragment"),
        ("http://gpu.lan:0", "port"),
        ("http://gpu.lan:65536", "port"),
        ("http://gpu.lan:abc", "port"),
        ("http://gpu.lan:-1", "port"),
        ("http://[::1", "cannot|read"),
        ("http://[::g]", "IPv6|read"),
        ("http://[fe80::1%25eth0]", "zone|read"),
        ("http://::1", "port|host"),
        ("http://256.1.1.1", "IPv4"),
        ("http://127.1", "IPv4"),
        ("http://a..b", "host name"),
        ("http://-a", "host name"),
        ("http://gpu lan", "character"),
        ("http://gpu.lan/a\\b", "character"),
        ("http://gpu.lan/\x00", "character"),
        ("http://" + "a" * 64, "host name"),
        ("http://" + "a." * 127 + "com", "host name"),
        ("http://gpu\u2100.lan", "read|host"),
        ("http://gpu.lan/\ud800", "character"),
        ("http://gpu.lan/a/../b", r"'\.\.'"),
        ("http://gpu.lan/" + "a" * 3000, "longer"),
    ],
)
def test_what_is_no_base_url_is_refused_with_a_reason(given_text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        normalise_base_url(given_text)


_urls = st.from_regex(
    r"(?i)https?://(\[[0-9a-f:.]{2,20}\]|[a-zü0-9._-]{1,12})(:[0-9]{0,6})?(/(v1|[a-zü%.]{0,4})){0,4}/?",
    fullmatch=True,
)


@given(st.one_of(_urls, st.text(), st.text().map(lambda t: "http://" + t)))
@example("http://ⅷ.example")
@example("http://a。b")
def test_normalising_twice_changes_nothing_and_any_text_gets_an_answer(text: str) -> None:
    once = refusal = ""
    try:
        once = normalise_base_url(text)
    except ValueError as error:
        refusal = str(error)
    assert bool(once) != bool(refusal)
    assert "\n" not in refusal
    assert not once or normalise_base_url(once) == once
    assert once.isascii()
    assert not once.endswith(("/", "/v1"))


@given(_urls)
def test_a_trailing_v1_or_slash_never_makes_another_server(text: str) -> None:
    try:
        once = normalise_base_url(text)
    except ValueError:
        return
    assert normalise_base_url(text.rstrip("/") + "/v1/") == once
    assert normalise_base_url(text + "/") == once


@pytest.mark.parametrize(
    "text",
    [
        "me:pass@host",
        "http://me:pass@host",
        "http://me:pa ss@host",
        "http://me:pass@[host",
        "x:pass@",
    ],
)
def test_a_password_is_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"\.$|\?$") as refused:
        normalise_base_url(text)
    assert "pass" not in str(refused.value).replace("password", "")
    assert "pa ss" not in str(refused.value)
