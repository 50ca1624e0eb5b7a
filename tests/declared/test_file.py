from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from llmlb.declared.file import parse_declared, read_declared
from llmlb.errors import StartupError
from llmlb.settings import Settings

WHOLE = """
[[endpoints]]
name = "gpu"
base_url = "http://GPU.lan:8000/v1/"
api_key_env = "GPU_KEY"
health_check_interval_secs = 10
inference_timeout_secs = 600
max_concurrency = 4
notes = "in the cellar"
extra_headers = { x-team = "a" }

[[endpoints]]
name = "cpu"
base_url = "http://cpu.lan"
api_key = "sk-2"
endpoint_type = "vllm"
"""

TWO_CREDENTIALS = (
    "'Authorization' cannot be an extra header while there is an 'api_key', which is sent in it."
)


def mistakes(text: str, **environment: str) -> list[str]:
    with pytest.raises(StartupError) as refused:
        parse_declared(text.encode(), "llmlb.toml", environment)
    return str(refused.value).split("\n")


def test_each_entry_is_a_registration() -> None:
    gpu, cpu = parse_declared(WHOLE.encode(), "llmlb.toml", {"GPU_KEY": " sk-1\n"})
    assert (gpu.name, gpu.base_url, gpu.api_key) == ("gpu", "http://gpu.lan:8000", "sk-1")
    assert (gpu.health_check_interval_secs, gpu.inference_timeout_secs) == (10, 600)
    assert (gpu.max_concurrency, gpu.notes) == (4, "in the cellar")
    assert gpu.extra_headers == {"x-team": "a"}
    assert (cpu.name, cpu.api_key, cpu.notes) == ("cpu", "sk-2", None)


def test_an_address_where_no_endpoint_can_be_is_a_mistake() -> None:
    text = '[[endpoints]]\nname = "a"\nbase_url = "http://[::ffff:169.254.169.254]"'
    (said,) = mistakes(text)
    assert said.startswith("llmlb.toml, endpoint 1 ('a'), base_url: The URL may not lead to ")
    assert "a link-local address" in said


def test_certificates_are_read_and_junk_is_a_mistake() -> None:
    entry = '[[endpoints]]\nname = "a"\nbase_url = "https://a"\nca_certificate = """%s"""'
    pem = trustme.CA().cert_pem.bytes().decode()
    (form,) = parse_declared((entry % f"# ours\n{pem}").encode(), "llmlb.toml", {})
    assert form.ca_certificate == pem
    (said,) = mistakes(entry % ssl.DER_cert_to_PEM_cert(b"junk"))
    assert said == (
        "llmlb.toml, endpoint 1 ('a'), ca_certificate: holds a certificate that cannot be read."
    )


def test_no_file_declares_nothing(tmp_path: Path) -> None:
    assert read_declared(Settings(data_dir=tmp_path)) == []


def test_an_empty_file_declares_nothing() -> None:
    assert parse_declared(b"", "llmlb.toml", {}) == []


def test_the_file_is_looked_for_in_the_data_directory(tmp_path: Path) -> None:
    (tmp_path / "llmlb.toml").write_text(WHOLE)
    forms = read_declared(Settings(data_dir=tmp_path), {"GPU_KEY": "sk"})
    assert [form.name for form in forms] == ["gpu", "cpu"]


def test_the_file_can_be_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text("[[endpoints]]\nname = 'a'\nbase_url = 'http://a'")
    (form,) = read_declared(Settings(data_dir=tmp_path, config_file=file), {})
    assert form.name == "a"


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    with pytest.raises(StartupError, match=r"LLMLB_CONFIG names .*other\.toml, which does not"):
        read_declared(Settings(data_dir=tmp_path, config_file=file))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "llmlb.toml").mkdir()
    with pytest.raises(StartupError, match=r"llmlb\.toml cannot be read: Is a directory\."):
        read_declared(Settings(data_dir=tmp_path))


def test_a_file_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "llmlb.toml").write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(StartupError, match=r"llmlb\.toml is larger than 1024 KiB\."):
        read_declared(Settings(data_dir=tmp_path))


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"\xff", "llmlb.toml is not UTF-8 text."),
        (b"[[endpoints]\n", "llmlb.toml is not TOML: "),
        (b"a = " + b"[" * 20_000, "llmlb.toml is not TOML: "),
        (b"a = " + b"1" * 5000, "llmlb.toml is not TOML: "),
    ],
)
def test_what_is_not_toml_is_refused(raw: bytes, says: str) -> None:
    with pytest.raises(StartupError) as refused:
        parse_declared(raw, "llmlb.toml", {})
    assert str(refused.value).startswith(says)
    assert str(refused.value).endswith(".")


def test_tables_that_are_not_known_are_refused() -> None:
    assert mistakes("port = 1\n[server]\n[[endpoints]]\nname='a'\nbase_url='http://a'") == [
        "llmlb.toml: 'port' is not known there: endpoints are declared as [[endpoints]].",
        "llmlb.toml: 'server' is not known there: endpoints are declared as [[endpoints]].",
    ]


@pytest.mark.parametrize("text", ["endpoints = 1", "endpoints = ['a']", "[endpoints]\nname = 'a'"])
def test_endpoints_is_a_list_of_tables(text: str) -> None:
    assert mistakes(text) == [
        "llmlb.toml: 'endpoints' must be a list of tables, each begun by [[endpoints]]."
    ]


def test_every_mistake_is_told_with_its_entry_and_field() -> None:
    text = """
        [[endpoints]]
        base_url = "gpu.lan"
        [[endpoints]]
        name = "b"
        base_url = "http://b"
        health_check_interval_secs = 5
        colour = "red"
        [[endpoints]]
        name = "c"
        base_url = "http://c"
        api_key = "sk"
        extra_headers = { Authorization = "x" }
    """
    assert mistakes(text) == [
        "llmlb.toml, endpoint 1, name: is missing.",
        "llmlb.toml, endpoint 1, base_url: 'gpu.lan' has no scheme: did you mean http://gpu.lan?",
        "llmlb.toml, endpoint 2 ('b'), health_check_interval_secs: must be from 10 to 300.",
        "llmlb.toml, endpoint 2 ('b'), colour: is not a field that is known here.",
        "llmlb.toml, endpoint 3 ('c'), extra_headers: " + TWO_CREDENTIALS,
    ]


def test_duplicates_are_refused() -> None:
    text = """
        [[endpoints]]
        name = "a"
        base_url = "http://a"
        [[endpoints]]
        name = "a"
        base_url = "http://b"
        [[endpoints]]
        name = "c"
        base_url = "http://A:80/v1"
    """
    assert mistakes(text) == [
        "llmlb.toml, endpoint 2 ('a'), name: is also that of endpoint 1 ('a').",
        "llmlb.toml, endpoint 3 ('c'), base_url: is also that of endpoint 1 ('a').",
    ]


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("api_key_env = 1", "must be a text, the name of an environment variable"),
        ("api_key_env = 'NONE'", "the environment variable NONE is not set"),
        ("api_key_env = 'BLANK'", "the environment variable BLANK is not set"),
        (
            "api_key_env = 'K'\napi_key = 'sk'",
            "is one way to give the key, and 'api_key' is another",
        ),
    ],
)
def test_a_key_from_the_environment_must_be_there(key: str, says: str) -> None:
    text = f"[[endpoints]]\nname = 'a'\nbase_url = 'http://a'\n{key}"
    assert mistakes(text, BLANK=" ", K="sk") == [
        f"llmlb.toml, endpoint 1 ('a'), api_key_env: {says}."
    ]


def test_a_key_is_never_repeated() -> None:
    text = "[[endpoints]]\nname = 'a'\nbase_url = 'http://a'\napi_key_env = 'K'"
    (mistake,) = mistakes(text, K="sk secret")
    assert "api_key: may hold only" in mistake
    assert "secret" not in mistake


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_file_is_understood_or_refused_in_words(raw: bytes) -> None:
    said = "llmlb.toml"
    try:
        parse_declared(raw, "llmlb.toml", {})
    except StartupError as refused:
        said = str(refused)
    assert said.startswith("llmlb.toml")
